//! Finding a job by what a person has typed of its id.

use super::JobBook;
use crate::fault::Fault;
use crate::job::JobRecord;
use holdfast_service::failure::Code;
use holdfast_types::{JobId, ParseNameError};

/// Ids that are named where several begin so.
const NAMED: usize = 5;

impl JobBook {
    /// The job of this id, or the only one whose id begins so.
    ///
    /// # Errors
    /// `job-not-found`; `usage` for what can't begin an id, or begins several.
    pub async fn find(&self, text: &str) -> Result<JobRecord, Fault> {
        let bad = |error: ParseNameError| Fault::from_error(Code::Usage, &error);
        // A part of an id may end where no id does.
        let id: JobId = text.trim_end_matches('-').parse().map_err(bad)?;
        let records = self.records.lock().await;
        if let Some(record) = records.get(&id) {
            return Ok(record.clone());
        }
        let begun = |record: &&JobRecord| record.id.as_str().starts_with(text);
        let mut found: Vec<&JobRecord> = records.values().filter(begun).collect();
        match found.as_slice() {
            [only] => return Ok((*only).clone()),
            [] => {
                let what = format!("job {text} is not known");
                return Err(Fault::new(Code::JobNotFound, what));
            }
            [_, _, ..] => {}
        }
        found.sort_by(|a, b| (b.started, &b.id).cmp(&(a.started, &a.id)));
        let named: Vec<&str> = found
            .iter()
            .take(NAMED)
            .map(|job| job.id.as_str())
            .collect();
        let dots = if found.len() > NAMED { ", …" } else { "" };
        Err(Fault::new(
            Code::Usage,
            format!(
                "the ids of {} jobs begin with {text} ({}{dots}): give more of the one you mean",
                found.len(),
                named.join(", ")
            ),
        ))
    }
}
