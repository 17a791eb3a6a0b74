//! The two things asked of the system beside the store: random bytes, and threads for work that
//! would hold up the async ones.

use crate::RepositoryError;

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], RepositoryError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| RepositoryError::Aborted {
        reason: format!("no random bytes: {error}"),
    })?;
    Ok(bytes)
}

/// Runs `work` on a thread that may block. A panic in it goes on in the caller.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RepositoryError> + Send + 'static,
) -> Result<T, RepositoryError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(join) => match join.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(RepositoryError::Aborted {
                reason: "the program is shutting down".to_owned(),
            }),
        },
    }
}
