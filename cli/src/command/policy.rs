//! `policy …`, `schedules`: what is done by itself. Policies are read and explained here, by the coordinator's own code.

use super::{Context, coordinator};
use crate::args::{
    ConnectionArgs, PolicyCommand, PolicyDiffArgs, PolicyExplainArgs, PolicyShowArgs,
};
use crate::failure::{Failure, Outcome};
use crate::view::{PolicyCheckView, PolicyDiffView, PolicyExplainView, PolicyView, SchedulesView};
use holdfast_coordinator::config::{LoadedPolicy, load_policy, parse_policy};
use holdfast_decide::policy::{Policy, diff, explain};
use holdfast_proto::v1;
use holdfast_service::clock::{Clock as _, SystemClock};
use holdfast_service::failure::Code;
use holdfast_types::{CollectionName, ScheduleName, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// `holdfast schedules`.
pub(super) async fn schedules(context: Context, connection: &ConnectionArgs) -> Outcome<()> {
    let mut coordinator = coordinator(connection).await?;
    let answer = coordinator
        .list_schedules(v1::ListSchedulesRequest {})
        .await?;
    context.output.show(&SchedulesView::from(&answer))
}

/// `holdfast policy …`.
pub(super) async fn run(context: Context, command: PolicyCommand) -> Outcome<()> {
    let output = context.output;
    match command {
        PolicyCommand::Check(args) => {
            let LoadedPolicy { policy, .. } = read(&args.file)?;
            output.show(&PolicyCheckView::new(&args.file, &policy))
        }
        PolicyCommand::Show(PolicyShowArgs { connection, file }) => {
            let followed = Followed::find(&connection, file.as_deref()).await?;
            output.show(&PolicyView::new(&followed.place, &followed.policy))
        }
        PolicyCommand::Explain(PolicyExplainArgs {
            connection,
            collection,
            file,
        }) => {
            let name = named(&collection)?;
            let followed = Followed::find(&connection, file.as_deref()).await?;
            let told = explain(&followed.policy, &name, &followed.since_full, followed.now);
            output.show(&PolicyExplainView::new(&followed.place, &name, &told))
        }
        PolicyCommand::Diff(args) => {
            let PolicyDiffArgs {
                connection,
                file,
                from,
                collections,
            } = args;
            let LoadedPolicy { policy, .. } = read(&file)?;
            let followed = Followed::find(&connection, from.as_deref()).await?;
            let named: Result<BTreeSet<_>, _> =
                collections.iter().map(|name| named(name)).collect();
            let mut compared = named?;
            compared.extend(followed.collections.iter().cloned());
            let changes = diff(&followed.policy, &policy, &compared, followed.now);
            output.show(&PolicyDiffView::new(
                &followed.place,
                &file.display().to_string(),
                &compared,
                &changes,
            ))
        }
    }
}

/// The policy that is asked about, and what is known beside it.
struct Followed {
    /// Where it stands, for people.
    place: String,
    policy: Policy,
    collections: BTreeSet<CollectionName>,
    since_full: BTreeMap<ScheduleName, u32>,
    now: Timestamp,
}

impl Followed {
    /// That of a file, or else the one that the coordinator follows.
    async fn find(connection: &ConnectionArgs, file: Option<&Path>) -> Outcome<Self> {
        if let Some(file) = file {
            return Ok(Self {
                place: file.display().to_string(),
                policy: read(file)?.policy,
                collections: BTreeSet::new(),
                since_full: BTreeMap::new(),
                now: SystemClock.now(),
            });
        }
        let mut coordinator = coordinator(connection).await?;
        let answer = coordinator.get_policy(v1::GetPolicyRequest {}).await?;
        if answer.path.is_empty() {
            return Err(Failure::new(
                Code::Config,
                "the coordinator follows no policy: nothing is captured by itself",
            )
            .risking("whatever nobody backs up by hand")
            .todo("write one (deploy/policy has examples), name it as `policy` in the coordinator's configuration and start it anew; or say --file FILE"));
        }
        let (path, text) = (Path::new(&answer.path), answer.text);
        let loaded = parse_policy(path, text, None).map_err(|error| {
            // It follows it, so it is of another release.
            refused(path, &error).todo("use the `holdfast` of the coordinator's release")
        })?;
        let known = |name: &String| name.parse().ok();
        let runs = answer.since_full.iter();
        Ok(Self {
            place: format!("{} (the coordinator follows it)", answer.path),
            policy: loaded.policy,
            collections: answer.collections.iter().filter_map(known).collect(),
            since_full: runs
                .filter_map(|(name, runs)| Some((name.parse().ok()?, *runs)))
                .collect(),
            now: Timestamp::from_micros(answer.now_us),
        })
    }
}

fn read(file: &Path) -> Outcome<LoadedPolicy> {
    load_policy(file, None).map_err(|error| refused(file, &error))
}

fn refused(file: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(
        Code::Config,
        format!("{} is not a valid policy", file.display()),
    )
    .caused_by(error)
    .risking("nothing: a running coordinator goes on with the policy that it read at its start")
    .todo("correct the file; docs/reference/policy.md has every key")
}

fn named(name: &str) -> Outcome<CollectionName> {
    name.parse().map_err(|error| {
        Failure::new(Code::Usage, format!("{name:?} can't be a collection")).caused_by(&error)
    })
}
