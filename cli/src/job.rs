//! Following a job of the coordinator to its end, or until Ctrl-C. The job itself lives in the
//! coordinator: going away here never stops it, and every message that is printed says so.

use crate::failure::{Action, Failure, Outcome, from_job_failure, from_status};
use crate::output::Output;
use crate::progress::{Amount, Progress};
use crate::view::EventView;
use futures::{Stream, StreamExt};
use holdfast_proto::v1;
use holdfast_proto::v1::job_event::Event;
use holdfast_service::failure::Code;
use std::future::Future;
use std::pin::pin;

/// A job that ended with success.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its id.
    pub(crate) job: String,
    /// What it brought.
    pub(crate) ended: v1::JobEnded,
}

/// Shows what happens while a job runs.
pub(crate) struct Follower<'a> {
    /// What the job does.
    pub(crate) action: Action,
    /// Its id; empty while the coordinator has not named it.
    pub(crate) job: String,
    /// For people.
    pub(crate) progress: &'a mut Progress,
    /// For programs that asked for events.
    pub(crate) output: Output,
}

impl Follower<'_> {
    /// Starts the job, or finds it, by awaiting `call`, then reads its events. `interrupt` ends the watching.
    pub(crate) async fn run<C, S>(
        mut self,
        call: C,
        interrupt: impl Future<Output = ()>,
    ) -> Outcome<Finished>
    where
        C: Future<Output = Outcome<S>>,
        S: Stream<Item = Result<v1::JobEvent, tonic::Status>> + Unpin,
    {
        let mut interrupt = pin!(interrupt);
        let mut events = tokio::select! {
            events = call => events?,
            () = &mut interrupt => return Err(interrupted(self.action, &self.job)),
        };
        let mut heard = false;
        let result = loop {
            let next = tokio::select! {
                next = events.next() => next,
                () = &mut interrupt => break Err(interrupted(self.action, &self.job)),
            };
            match next {
                None => break Err(broken(self.action, &self.job)),
                Some(Err(status)) if !heard => {
                    break Err(from_status(self.action, &status));
                }
                Some(Err(status)) => {
                    break Err(broken(self.action, &self.job).because(status.message()));
                }
                Some(Ok(event)) => {
                    heard = true;
                    self.job.clone_from(&event.job_id);
                    self.show(&event)?;
                    if let Some(Event::Ended(ended)) = event.event {
                        break self.conclude(ended);
                    }
                }
            }
        };
        self.progress.clear();
        result
    }

    fn show(&mut self, event: &v1::JobEvent) -> Outcome<()> {
        self.output.event(&EventView::from(event))?;
        match &event.event {
            Some(Event::Started(started)) => {
                self.progress
                    .say(&format!("{} {}", started.kind, event.job_id));
                for step in &started.plan {
                    self.progress.say(&format!("  {step}"));
                }
            }
            Some(Event::Progress(wire)) => self.show_progress(wire),
            Some(Event::Note(text)) => self.progress.say(text),
            Some(Event::Ended(_)) | None => {}
        }
        Ok(())
    }

    fn show_progress(&mut self, wire: &v1::JobProgress) {
        let Some(progress) = &wire.progress else {
            return;
        };
        let key = match wire.node.as_str() {
            "" => "all".to_owned(),
            node => format!("{node} {}/{}", wire.collection, wire.shard_id),
        };
        let amount = Amount {
            done: progress.bytes_done,
            total: progress.bytes_total,
            sent: (self.action == Action::Backup).then_some(progress.bytes_sent),
            bytes: true,
        };
        self.progress.update(&key, &progress.stage, amount);
    }

    fn conclude(&self, ended: v1::JobEnded) -> Outcome<Finished> {
        let job = &self.job;
        match ended.state() {
            v1::JobState::Succeeded => Ok(Finished {
                job: job.clone(),
                ended,
            }),
            v1::JobState::Cancelled if ended.failure.is_none() => {
                let cancelled = v1::Failure {
                    code: Code::Cancelled.as_str().to_owned(),
                    message: format!("job {job} was cancelled"),
                    retryable: false,
                };
                Err(from_job_failure(self.action, Some(&cancelled)))
            }
            v1::JobState::Cancelled
            | v1::JobState::Failed
            | v1::JobState::Interrupted
            | v1::JobState::Running
            | v1::JobState::Unspecified => {
                Err(from_job_failure(self.action, ended.failure.as_ref()))
            }
        }
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Backup => "backup",
        Action::Restore => "restore",
        Action::Read
        | Action::Cancel
        | Action::Copy
        | Action::Verify
        | Action::Remove
        | Action::Member => "job",
    }
}

fn interrupted(action: Action, job: &str) -> Failure {
    let word = word(action);
    if job.is_empty() {
        return Failure::new(
            Code::Interrupted,
            format!("interrupted before the coordinator had named the {word} job"),
        )
        .risking("nothing; but the job may have started, and then goes on in the coordinator")
        .todo("look: holdfast jobs list");
    }
    Failure::new(
        Code::Interrupted,
        "interrupted: this program has stopped watching",
    )
    .risking(format!(
        "nothing: the {word} goes on in the coordinator as job {job}"
    ))
    .todo(format!(
        "go on watching: holdfast jobs watch {job}\ncancel: holdfast jobs cancel {job}"
    ))
}

fn broken(action: Action, job: &str) -> Failure {
    let word = word(action);
    let todo = match job {
        "" => "look: holdfast jobs list".to_owned(),
        job => format!("go on watching: holdfast jobs watch {job}"),
    };
    Failure::new(
        Code::CoordinatorUnreachable,
        format!("the connection to the coordinator ended before the {word} did"),
    )
    .risking(format!(
        "nothing if the coordinator still runs: then the {word} goes on as job {job}; if it stopped, it \
         will say at its next start what became of the job"
    ))
    .todo(todo)
}

#[cfg(test)]
mod tests;
