//! Stories of the backup planner with their exact outcome, in `tests/scenarios`.
//!
//! A file is a list of orders, each followed by what came of it, indented. `HOLDFAST_BLESS=1` writes what comes of them now;
//! the difference is to be read like code. Every plan is also read by the independent checker.
//!
//! | order | meaning |
//! |---|---|
//! | `node n1`, `alone n1` | a node of the cluster; one that belongs to none |
//! | `collection docs: n1,n2 n2,n3` | its shards from 0 on, each with the nodes of its replicas |
//! | `drop docs` | it is there no more |
//! | `state n1 docs/0 Dead`, `seen-by n2 n1 docs/0 Dead` | what n1 says of its replica; what n2 says of n1's |
//! | `away n1`, `back n1`, `failing n1`, `late n1` | its agent is gone; all is well; it can't use its Qdrant; it did not answer |
//! | `drain n1`, `removed n1` | an operator wants no captures on it; it is gone for good |
//! | `answers n1 2500`, `silent n1 30` | milliseconds of the simplest answer; seconds without one |
//! | `optimizing n1 docs/0 12`, `moving docs/0 n1 n3` | minutes of an optimizer; a transfer |
//! | `plan [name or pattern]…` | a plan |
//! | `commit` | the last plan is a recovery point: its nodes are the pins |
//! | `settle in=0,1 failed=2` | what follows for the last plan, of which these captures are in, and these failed |

use anyhow::{Context as _, Result, bail, ensure};
use holdfast_decide::{
    BackupPlan, BackupRequest, CollectionView, MethodWish, NodeView, Observation, Past, Pulse,
    RemoteView, ServerSeen, ServerView, ShardView, Standing, TransferView, check_backup,
    plan_backup, settle_backup,
};
use holdfast_types::{CollectionName, Epoch, NodeId, ShardId, Timestamp};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_micros(1_795_256_130_000_000);

#[test]
fn every_story_ends_as_written() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut stories: Vec<_> = fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
    stories.sort_by_key(fs::DirEntry::file_name);
    ensure!(!stories.is_empty());
    for story in stories {
        let path = story.path();
        let written = fs::read_to_string(&path)?;
        let told = tell(&written).with_context(|| path.display().to_string())?;
        if std::env::var_os("HOLDFAST_BLESS").is_some() {
            fs::write(&path, told)?;
        } else {
            ensure!(written == told, "{}:\n{told}", path.display());
        }
    }
    Ok(())
}

/// The story with what comes of its orders now.
fn tell(written: &str) -> Result<String> {
    let mut world = World::default();
    let mut told = String::new();
    for line in written.lines().filter(|line| !line.starts_with("    ")) {
        told.push_str(line);
        told.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for outcome in world.obey(line).with_context(|| line.to_owned())? {
            told.push_str(&format!("    {outcome}\n"));
        }
    }
    Ok(told)
}

#[derive(Default)]
struct World {
    nodes: BTreeMap<NodeId, Node>,
    collections: BTreeMap<CollectionName, Vec<Vec<NodeId>>>,
    /// What a node says of a replica of a node.
    states: BTreeMap<(NodeId, NodeId, CollectionName, ShardId), String>,
    optimizing: BTreeMap<(NodeId, CollectionName, ShardId), u64>,
    transfers: Vec<(CollectionName, ShardId, NodeId, NodeId)>,
    past: Past,
    plan: Option<BackupPlan>,
}

#[derive(Clone, Default)]
struct Node {
    alone: bool,
    peer: u64,
    away: bool,
    failing: bool,
    late: bool,
    drained: bool,
    answer_ms: u64,
    silent_s: u64,
}

impl World {
    fn obey(&mut self, line: &str) -> Result<Vec<String>> {
        let (order, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (order, &words[..]) {
            ("node" | "alone", [node]) => {
                let peer = self.nodes.len() as u64 + 1;
                let alone = order == "alone";
                let node = (
                    node.parse()?,
                    Node {
                        alone,
                        peer,
                        ..Node::default()
                    },
                );
                self.nodes.extend([node]);
            }
            ("collection", [name, shards @ ..]) => {
                let shards = shards
                    .iter()
                    .map(|nodes| nodes.split(',').map(str::parse).collect());
                let shards = shards.collect::<Result<_, _>>()?;
                self.collections
                    .insert(name.trim_end_matches(':').parse()?, shards);
            }
            ("drop", [name]) => drop(self.collections.remove(&name.parse()?)),
            ("state", [node, replica, state]) => self.say(node, node, replica, state)?,
            ("seen-by", [by, node, replica, state]) => self.say(by, node, replica, state)?,
            ("optimizing", [node, replica, minutes]) => {
                let (name, shard) = place(replica)?;
                let minutes = minutes.parse()?;
                self.optimizing
                    .insert((node.parse()?, name, shard), minutes);
            }
            ("moving", [replica, from, to]) => {
                let (name, shard) = place(replica)?;
                self.transfers
                    .push((name, shard, from.parse()?, to.parse()?));
            }
            ("removed", [node]) => {
                let node: NodeId = node.parse()?;
                self.nodes.remove(&node).context("no such node")?;
                self.past.removed.insert(node);
            }
            ("plan", wanted) => return self.plan(wanted),
            ("commit", []) => self.commit()?,
            ("settle", standing) => return self.settle(standing),
            (order, [node, figures @ ..]) => {
                let found = self.nodes.get_mut(&node.parse()?).context("no such node")?;
                match (order, figures) {
                    ("away", []) => found.away = true,
                    ("failing", []) => found.failing = true,
                    ("late", []) => found.late = true,
                    ("drain", []) => found.drained = true,
                    ("answers", [ms]) => found.answer_ms = ms.parse()?,
                    ("silent", [seconds]) => found.silent_s = seconds.parse()?,
                    ("back", []) => {
                        let (alone, peer) = (found.alone, found.peer);
                        *found = Node {
                            alone,
                            peer,
                            ..Node::default()
                        };
                    }
                    _ => bail!("no such order"),
                }
            }
            _ => bail!("no such order"),
        }
        Ok(Vec::new())
    }

    fn say(&mut self, by: &str, node: &str, replica: &str, state: &str) -> Result<()> {
        let (name, shard) = place(replica)?;
        let key = (by.parse()?, node.parse()?, name, shard);
        self.states.insert(key, state.to_owned());
        Ok(())
    }

    fn plan(&mut self, wanted: &[&str]) -> Result<Vec<String>> {
        let (patterns, names): (Vec<&str>, Vec<&str>) =
            wanted.iter().partition(|w| w.contains('*'));
        let request = BackupRequest {
            collections: names
                .into_iter()
                .map(str::parse)
                .collect::<Result<_, _>>()?,
            patterns: patterns
                .into_iter()
                .map(str::parse)
                .collect::<Result<_, _>>()?,
            method: MethodWish::Auto,
            limits: holdfast_types::CaptureLimits::default(),
        };
        let seen = self.seen();
        match plan_backup(&seen, &request, NOW) {
            Ok(plan) => {
                let wrong = check_backup(&plan, &request, &seen, NOW);
                ensure!(wrong.is_empty(), "the checker refuses the plan: {wrong:?}");
                let steps = plan.captures.iter().map(ToString::to_string);
                let reasons = plan.reasons.iter().map(|reason| format!("note: {reason}"));
                let lines = steps.map(short).chain(reasons).collect();
                self.plan = Some(plan);
                Ok(lines)
            }
            Err(blockers) => Ok(blockers.iter().map(|b| format!("blocked: {b}")).collect()),
        }
    }

    fn commit(&mut self) -> Result<()> {
        let plan = self.plan.as_ref().context("there is no plan")?;
        for step in &plan.captures {
            let place = (step.collection.clone(), step.shard);
            self.past.pins.insert(place, step.node.clone());
        }
        for facts in &plan.nodes {
            if let Some(peer) = facts.peer_id {
                self.past.peers.insert(facts.node.clone(), peer);
            }
        }
        Ok(())
    }

    fn settle(&self, words: &[&str]) -> Result<Vec<String>> {
        let plan = self.plan.as_ref().context("there is no plan")?;
        let mut standing = Standing::default();
        for word in words {
            let (what, list) = word.split_once('=').context("no list")?;
            for index in list.split(',') {
                let index: usize = index.parse()?;
                let step = plan.captures.get(index).context("no such capture")?;
                match what {
                    "in" => drop(standing.captured.insert(index)),
                    "failed" => {
                        let why = "it broke".to_owned();
                        standing.failed.push((index, step.node.clone(), why));
                    }
                    _ => bail!("no such list"),
                }
            }
        }
        Ok(match settle_backup(plan, &standing, &self.seen(), NOW) {
            Ok(settlement) => {
                let moved = settlement.moved.iter();
                let moved =
                    moved.map(|(index, step)| format!("{index}: {}", short(step.to_string())));
                let added = settlement.added.iter();
                let added = added.map(|step| format!("more: {}", short(step.to_string())));
                let gone = settlement
                    .gone
                    .iter()
                    .map(|gone| format!("left out: {gone}"));
                let new = settlement
                    .appeared
                    .iter()
                    .map(|name| format!("not in it: {name}"));
                let mut lines: Vec<String> = moved.chain(added).chain(gone).chain(new).collect();
                if lines.is_empty() {
                    lines.push("nothing has changed".to_owned());
                }
                lines
            }
            Err(blockers) => blockers.iter().map(|b| format!("fails: {b}")).collect(),
        })
    }

    fn seen(&self) -> Observation {
        let nodes = self.nodes.iter().map(|(id, node)| {
            let server = self.server(id, node);
            let failing = ServerView::Failing {
                code: "qdrant-unreachable".into(),
                message: "it does not answer".into(),
            };
            let view = NodeView {
                connected: !node.away,
                reported_at: Some(NOW),
                clock_skew: None,
                before: Some(server.clone()),
                server: if node.failing {
                    failing
                } else {
                    ServerView::Seen(server)
                },
                late: node.late,
                searches: None,
                pulse: Pulse {
                    silent: Duration::from_secs(node.silent_s),
                    answer: Duration::from_millis(node.answer_ms),
                },
                drained: node.drained,
            };
            (id.clone(), view)
        });
        Observation {
            epoch: Epoch(1),
            running: None,
            nodes: nodes.collect(),
            past: self.past.clone(),
        }
    }

    fn server(&self, id: &NodeId, node: &Node) -> ServerSeen {
        let peers = self
            .nodes
            .values()
            .filter(|other| !other.alone && !node.alone);
        let collections = self.collections.iter().filter(|(_, shards)| {
            !node.alone || shards.iter().flatten().any(|holder| holder == id)
        });
        ServerSeen {
            version: "1.18.3".parse().expect("a version"),
            commit: None,
            peer_id: (!node.alone).then_some(node.peer),
            peers: u32::try_from(peers.clone().count()).unwrap_or(u32::MAX),
            cluster: peers.map(|other| (other.peer, String::new())).collect(),
            unusable_collections: Vec::new(),
            unusable_aliases: Vec::new(),
            storage_free: None,
            snapshots_shared: false,
            splices_logs: true,
            replays_logs: true,
            restores_parts: true,
            keeps_limits: true,
            extras: None,
            collections: collections
                .map(|(name, shards)| (name.clone(), self.view(id, name, shards)))
                .collect(),
        }
    }

    fn view(&self, id: &NodeId, name: &CollectionName, shards: &[Vec<NodeId>]) -> CollectionView {
        let mut view = CollectionView {
            status: "green".into(),
            shard_count: u32::try_from(shards.len()).unwrap_or(u32::MAX),
            shards: BTreeMap::new(),
            remote: Vec::new(),
            transfers: Vec::new(),
            aliases: Vec::new(),
        };
        for (shard, holders) in (0..).map(ShardId).zip(shards) {
            for holder in holders {
                let key = (id.clone(), holder.clone(), name.clone(), shard);
                let state = self
                    .states
                    .get(&key)
                    .map_or("Active", String::as_str)
                    .to_owned();
                if holder == id {
                    let minutes = self.optimizing.get(&(id.clone(), name.clone(), shard));
                    let replica = ShardView {
                        state,
                        optimizing: Duration::from_mins(minutes.copied().unwrap_or(0)),
                        points_approx: 1,
                    };
                    view.shards.insert(shard, replica);
                } else if let Some(peer) = self.nodes.get(holder).map(|node| node.peer) {
                    view.remote.push(RemoteView { shard, peer, state });
                }
            }
        }
        for (collection, shard, from, to) in &self.transfers {
            let peer = |node| self.nodes.get(node).map_or(0, |node| node.peer);
            if collection == name {
                let (from, to) = (peer(from), peer(to));
                view.transfers.push(TransferView {
                    shard: *shard,
                    from,
                    to,
                });
            }
        }
        view
    }
}

fn place(text: &str) -> Result<(CollectionName, ShardId)> {
    let (name, shard) = text.split_once('/').context("no shard")?;
    Ok((name.parse()?, ShardId(shard.parse()?)))
}

/// Without the way, which is the same everywhere here.
fn short(step: String) -> String {
    step.replace(" through the quickest way that its agent has", "")
}
