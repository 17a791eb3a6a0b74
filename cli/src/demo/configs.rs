//! Configuration of the demo's processes, as text.

use std::path::Path;

/// Name of the demo's cluster and trust domain.
pub(super) const CLUSTER: &str = "demo";
/// Name of its only node.
pub(super) const NODE: &str = "n1";
/// Name of its coordinator.
pub(super) const COORDINATOR: &str = "c1";
/// Name of its operator.
pub(super) const OPERATOR: &str = "demo-operator";

/// The ports of the demo's processes, all on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) qdrant_http: u16,
    pub(super) qdrant_grpc: u16,
    pub(super) coordinator: u16,
    pub(super) coordinator_health: u16,
    pub(super) agent_health: u16,
}

/// Settings of a Qdrant that works in `cwd` only. An empty working directory and RUN_MODE keep it from
/// merging anybody's configuration files.
pub(super) fn qdrant_env(cwd: &Path, ports: Ports) -> Vec<(&'static str, String)> {
    let inside = |name: &str| cwd.join(name).display().to_string();
    vec![
        ("RUN_MODE", "test".to_owned()),
        ("QDRANT__SERVICE__HOST", "127.0.0.1".to_owned()),
        ("QDRANT__SERVICE__HTTP_PORT", ports.qdrant_http.to_string()),
        ("QDRANT__SERVICE__GRPC_PORT", ports.qdrant_grpc.to_string()),
        ("QDRANT__STORAGE__STORAGE_PATH", inside("storage")),
        ("QDRANT__STORAGE__SNAPSHOTS_PATH", inside("snapshots")),
        ("QDRANT__TELEMETRY_DISABLED", "true".to_owned()),
    ]
}

/// `coordinator.toml`
pub(super) fn coordinator(dir: &Path, ports: Ports) -> String {
    format!(
        "name = \"{COORDINATOR}\"\ncluster = \"{CLUSTER}\"\nlisten = \"127.0.0.1:{}\"\n\
         health_listen = \"127.0.0.1:{}\"\nstate_dir = {}\n\n[tls]\n{}\n\
         [repository]\npath = {}\nkey_file = {}\ninit = true\n\n\
         [limits]\nheartbeat_interval_ms = 500\n",
        ports.coordinator,
        ports.coordinator_health,
        quoted(&dir.join("coordinator-state")),
        tls(dir, COORDINATOR),
        quoted(&dir.join("repository")),
        quoted(&dir.join("repository.key")),
    )
}

/// `agent.toml`
pub(super) fn agent(dir: &Path, ports: Ports) -> String {
    format!(
        "node = \"{NODE}\"\ncluster = \"{CLUSTER}\"\nhealth_listen = \"127.0.0.1:{}\"\nstate_dir = {}\n\n\
         [coordinator]\nendpoint = \"https://127.0.0.1:{}\"\n\n[tls]\n{}\n\
         [qdrant]\nurl = \"http://127.0.0.1:{}\"\nsnapshots_dir = {}\nstorage_dir = {}\n",
        ports.agent_health,
        quoted(&dir.join("agent-state")),
        ports.coordinator,
        tls(dir, NODE),
        ports.qdrant_http,
        quoted(&dir.join("qdrant/snapshots")),
        quoted(&dir.join("qdrant/storage")),
    )
}

/// `holdfast.toml`, for whoever looks around with `holdfast`.
pub(super) fn operator(ports: Ports) -> String {
    format!(
        "coordinator = \"https://127.0.0.1:{}\"\ntls_dir = \"tls/{OPERATOR}\"\n",
        ports.coordinator
    )
}

fn tls(dir: &Path, name: &str) -> String {
    let file = |file: &str| quoted(&dir.join("tls").join(name).join(file));
    format!(
        "cert = {}\nkey = {}\nca = {}\n",
        file("cert.pem"),
        file("key.pem"),
        file("ca.pem")
    )
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use super::{Ports, agent, coordinator, operator};
    use std::path::Path;

    #[test]
    fn all_files_are_toml_whatever_the_directory_is_called() {
        let ports = Ports {
            qdrant_http: 1,
            qdrant_grpc: 2,
            coordinator: 3,
            coordinator_health: 4,
            agent_health: 5,
        };
        let dir = Path::new("/tmp/it's \"odd\" \\ here");
        for text in [agent(dir, ports), coordinator(dir, ports), operator(ports)] {
            let table: toml::Table = text.parse().expect("TOML");
            assert!(!table.is_empty());
        }
        let table: toml::Table = agent(dir, ports).parse().expect("TOML");
        assert_eq!(
            table["qdrant"]["snapshots_dir"].as_str(),
            Some("/tmp/it's \"odd\" \\ here/qdrant/snapshots")
        );
    }
}
