//! Two halves of one flow of bytes, and the cause when it breaks.
//!
//! When one half fails, the other fails too, a moment later or earlier, with an error that only says
//! that its neighbour has gone. This module runs both and reports the error that started it.

use crate::job::Halt;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

/// When the taking half fails first, the feeding half has this long to say why.
const REASON_WITHIN: Duration = Duration::from_secs(5);

/// Runs both halves to their end.
///
/// # Errors
/// The error of the half that failed by itself. The other is dropped.
pub async fn both<A, B>(
    feeding: impl Future<Output = Result<A, Halt>>,
    taking: impl Future<Output = Result<B, Halt>>,
) -> Result<(A, B), Halt> {
    let (mut feeding, mut taking) = (pin!(feeding), pin!(taking));
    tokio::select! {
        fed = &mut feeding => match fed {
            Ok(fed) => Ok((fed, taking.await?)),
            // The taking half went first; its error is the one to report.
            Err(Halt::Stopped) => Err(taking.await.err().unwrap_or(Halt::Stopped)),
            Err(halt) => Err(halt),
        },
        taken = &mut taking => match taken {
            Ok(taken) => Ok((feeding.await?, taken)),
            // A flow that broke off is seen by both halves; the feeding one knows why.
            Err(Halt::Failed(failed)) => {
                match tokio::time::timeout(REASON_WITHIN, feeding).await {
                    Ok(Err(cause @ (Halt::Failed(_) | Halt::Broken(_)))) => Err(cause),
                    Ok(Ok(_) | Err(Halt::Stopped)) | Err(_) => Err(Halt::Failed(failed)),
                }
            }
            Err(halt) => Err(halt),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::both;
    use crate::failure::Failed;
    use crate::job::Halt;
    use holdfast_service::failure::Code;
    use std::future::{pending, ready};

    fn failed(text: &str) -> Halt {
        Halt::Failed(Failed::new(Code::Internal, text))
    }

    fn message(result: Result<((), ()), Halt>) -> String {
        match result {
            Err(Halt::Failed(failed)) => failed.message,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_cause_is_reported_whoever_fails_first() {
        let later = |text: &'static str| async move {
            tokio::task::yield_now().await;
            Err(failed(text))
        };
        let stopped = || ready(Err(Halt::Stopped));
        assert_eq!(message(both(stopped(), later("taking")).await), "taking");
        assert_eq!(
            message(both(ready(Err(failed("feeding"))), pending()).await),
            "feeding"
        );
        assert_eq!(
            message(both(later("feeding"), ready(Err(failed("cut off")))).await),
            "feeding"
        );
        assert_eq!(
            message(both(stopped(), ready(Err(failed("taking")))).await),
            "taking"
        );
        both(ready(Ok(())), ready(Ok(()))).await.unwrap();
    }
}
