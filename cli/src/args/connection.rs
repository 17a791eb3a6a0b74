//! How to reach the coordinator. Options win over environment variables, these over the settings file.

use clap::Args;
use std::path::PathBuf;

/// Options of every command that talks to the coordinator.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// The coordinator, such as https://holdfast.internal:6350.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "HOLDFAST_COORDINATOR",
        hide_env_values = true
    )]
    pub(crate) coordinator: Option<String>,

    /// A directory with cert.pem, key.pem and ca.pem, in place of the three options below.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "HOLDFAST_TLS_DIR",
        hide_env_values = true
    )]
    pub(crate) tls_dir: Option<PathBuf>,

    /// This operator's (or viewer's) certificate.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HOLDFAST_CERT",
        hide_env_values = true
    )]
    pub(crate) cert: Option<PathBuf>,

    /// The private key of the certificate.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HOLDFAST_KEY",
        hide_env_values = true
    )]
    pub(crate) key: Option<PathBuf>,

    /// The certificate of the authority that issued the coordinator's certificate.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HOLDFAST_CA",
        hide_env_values = true
    )]
    pub(crate) ca: Option<PathBuf>,

    /// A settings file [default: ./holdfast.toml, else ~/.config/holdfast/holdfast.toml].
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HOLDFAST_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,
}
