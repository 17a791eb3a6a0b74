//! Makes the catalogue anew from the repository.
//!
//! The new file is complete and on disk before it takes the old one's place; the old one is kept beside
//! it. Jobs, their logs, and what operators said of nodes are carried over where the old file can still be read.

use super::{Catalog, CatalogError, PointSummary};
use crate::enrolment::TokenRecord;
use crate::fault::{Fault, chain};
use crate::job::JobRecord;
use crate::job::log::LogChange;
use crate::logs::Bases;
use crate::members::Member;
use crate::missed::{AstrayState, Found, Known, compare};
use crate::repository::fault_of;
use holdfast_repository::Repository;
use holdfast_service::failure::Code;
use holdfast_types::{NodeId, RecoveryPointId, Timestamp};
use std::path::Path;

/// What a rebuild found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Recovery points listed.
    pub points: usize,
    /// Recovery points that can't be read, and why.
    pub damaged: Vec<(RecoveryPointId, String)>,
    /// Jobs carried over.
    pub jobs: usize,
    /// Recovery points that the old catalogue knew, and that are gone from the repository though nobody is known to have removed them.
    pub missed: Vec<PointSummary>,
}

/// What the repository holds.
#[derive(Debug, Default)]
pub struct Survey {
    /// Readable recovery points.
    pub points: Vec<PointSummary>,
    /// Damaged ones, with the reason.
    pub damaged: Vec<(RecoveryPointId, String)>,
    /// The newest captures of each collection.
    pub bases: Bases,
}

/// Lists what the repository holds.
///
/// # Errors
/// If the repository can't be listed.
pub async fn survey(repository: &Repository) -> Result<Survey, Fault> {
    let listed = repository.list_points().await.map_err(|e| fault_of(&e))?;
    let mut survey = Survey::default();
    for listing in listed {
        match listing.manifest {
            Ok(manifest) => {
                survey.points.push(PointSummary::of(&manifest));
                survey.bases.learn(&manifest);
            }
            Err(error) => survey.damaged.push((listing.id, chain(&error))),
        }
    }
    Ok(survey)
}

/// Replaces the catalogue at `path`.
///
/// # Errors
/// If it is in use, or repository or disk fail; the old one is untouched then.
pub async fn rebuild(path: &Path, repository: &Repository) -> Result<Rebuilt, Fault> {
    let id = repository.description().id.clone();
    let Old {
        jobs,
        known,
        members,
        tokens,
    } = old(path, &id).await?;
    let found = survey(repository).await?;
    let missed = missed_points(&known, &found, repository).await;
    let Survey {
        points, damaged, ..
    } = found;
    let done = Rebuilt {
        points: points.len(),
        damaged,
        jobs: jobs.len(),
        missed,
    };
    let fresh = path.with_extension("redb.new");
    remove_if_there(&fresh)?;
    let catalog = Catalog::create(&fresh, &id).map_err(|e| fault(&e))?;
    catalog
        .replace_points(points, Vec::new(), None)
        .await
        .map_err(|e| fault(&e))?;
    for (job, log) in jobs {
        catalog.put_job(job, log).await.map_err(|e| fault(&e))?;
    }
    catalog.put_members(members).await.map_err(|e| fault(&e))?;
    let tokens = catalog.put_tokens(tokens, Vec::new()).await;
    tokens.map_err(|e| fault(&e))?;
    drop(catalog);
    swap(path, &fresh).map_err(|error| Fault::from_error(Code::Internal, &error))?;
    Ok(done)
}

/// What is carried over from the old catalogue, and what it knew.
#[derive(Default)]
struct Old {
    jobs: Vec<(JobRecord, LogChange)>,
    known: Known,
    /// Else nodes that were removed would be let in.
    members: Vec<(NodeId, Member)>,
    /// Else nobody would know which were used.
    tokens: Vec<TokenRecord>,
}

/// Points that are missed. The new catalogue does not know of them: they are named this once.
async fn missed_points(
    known: &Known,
    found: &Survey,
    repository: &Repository,
) -> Vec<PointSummary> {
    // What can't be read says of no point that it was removed.
    let marks = repository.read_marks().await.unwrap_or_default();
    let found = Found::by(found, &marks, Timestamp::EPOCH);
    let astray = compare(known, &found).into_iter();
    let missed = astray.filter(|astray| matches!(astray.state, AstrayState::Missed { .. }));
    missed.map(|astray| astray.point).collect()
}

/// The old catalogue; nothing if it can't be read.
async fn old(path: &Path, id: &str) -> Result<Old, Fault> {
    match Catalog::open(path, id) {
        Ok(old) => {
            let mut jobs = Vec::new();
            for job in old.jobs().await.unwrap_or_default() {
                let log = LogChange {
                    add: old.job_log(job.id.clone()).await.unwrap_or_default(),
                    ..LogChange::default()
                };
                jobs.push((job, log));
            }
            let known = old.known().await.unwrap_or_default();
            let members = old.members().await.unwrap_or_default();
            Ok(Old {
                jobs,
                known,
                members: members.into_iter().collect(),
                tokens: old.tokens().await.unwrap_or_default(),
            })
        }
        Err(error @ CatalogError::InUse { .. }) => Err(Fault::new(
            Code::RepositoryLocked,
            format!("{error}: stop it before the rebuild"),
        )),
        Err(
            CatalogError::Missing { .. }
            | CatalogError::Newer { .. }
            | CatalogError::Foreign { .. }
            | CatalogError::Damaged { .. }
            | CatalogError::Io { .. },
        ) => Ok(Old::default()),
    }
}

fn swap(path: &Path, fresh: &Path) -> std::io::Result<()> {
    if path.try_exists()? {
        fs_err::rename(path, path.with_extension("redb.old"))?;
    }
    fs_err::rename(fresh, path)?;
    match path.parent() {
        Some(parent) => fs_err::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn remove_if_there(path: &Path) -> Result<(), Fault> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Fault::from_error(Code::Internal, &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn fault(error: &CatalogError) -> Fault {
    Fault::from_error(Code::Internal, error)
}

#[cfg(test)]
mod tests {
    use super::rebuild;
    use crate::catalog::Catalog;
    use crate::fixture::{self, backup_record};
    use crate::job::log::{Level, LogChange, LogLine};
    use crate::members::Member;
    use holdfast_types::Timestamp;

    #[tokio::test]
    async fn a_lost_or_damaged_catalogue_comes_back() {
        let repository = fixture::repository().await;
        let point = fixture::commit_point(&repository).await;
        let id = repository.description().id.clone();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.redb");

        let done = rebuild(&path, &repository).await.unwrap();
        assert_eq!((done.points, done.damaged.len(), done.jobs), (1, 0, 0));
        let catalog = Catalog::open(&path, &id).unwrap();
        assert_eq!(catalog.points().await.unwrap()[0].id, point);
        let job = backup_record();
        let line = LogLine::new(Timestamp::EPOCH, Level::Info, "a line".to_owned());
        let log = LogChange {
            add: [(7, line)].into(),
            ..LogChange::default()
        };
        catalog.put_job(job.clone(), log.clone()).await.unwrap();
        let member = Member {
            refused_before: Some(Timestamp::EPOCH),
            ..Member::default()
        };
        let members = vec![("n1".parse().unwrap(), member)];
        catalog.put_members(members.clone()).await.unwrap();
        let refused = rebuild(&path, &repository).await.unwrap_err();
        assert!(refused.message.contains("stop it"), "{refused}");
        drop(catalog);
        assert_eq!(rebuild(&path, &repository).await.unwrap().jobs, 1);
        let catalog = Catalog::open(&path, &id).unwrap();
        assert_eq!(catalog.job_log(job.id).await.unwrap(), log.add);
        let kept = catalog.members().await.unwrap();
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), members);
        drop(catalog);

        std::fs::write(&path, b"garbage").unwrap();
        assert!(Catalog::open(&path, &id).is_err());
        assert_eq!(rebuild(&path, &repository).await.unwrap().points, 1);
        assert!(Catalog::open(&path, &id).is_ok());
    }
}
