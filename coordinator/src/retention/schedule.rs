//! The rules applied by themselves.

use super::prune::prune;
use crate::core::Core;
use crate::upkeep::AFTER_CANCEL;
use holdfast_service::failure::Code;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// After a failed run, and after the start: agents and operators come first.
const SOON: Duration = Duration::from_mins(5);

/// Runs until the process ends. Two operators can't be asked by a clock: with `two_person` only marks that they have made
/// are carried out, by their commands.
pub async fn run(core: Arc<Core>) {
    let settings = &core.retention.settings;
    let (Some(every), false) = (settings.every, settings.two_person) else {
        return;
    };
    let stop = core.shutdown.token();
    let mut next = Instant::now() + SOON.min(every);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep_until(next) => {}
        }
        next = Instant::now() + every;
        match prune(&core, None).await {
            Ok(pruned) => tracing::info!(
                waiting = pruned.waiting.len(),
                deleted = pruned.swept.len(),
                packs_deleted = pruned.garbage.swept.packs,
                bytes_deleted = pruned.garbage.swept.bytes,
                log_bytes_deleted = pruned.logs.iter().map(|log| log.bytes).sum::<u64>(),
                "retention was applied"
            ),
            Err(fault) if fault.known_code() == Code::Cancelled => {
                tracing::info!("retention was cancelled; it goes on in an hour");
                next = Instant::now() + AFTER_CANCEL;
            }
            Err(fault) => {
                tracing::error!(code = fault.code, reason = %fault, "retention could not be applied; trying again later");
                next = Instant::now() + SOON.min(every);
            }
        }
    }
}
