//! `certs init`, `certs issue`, `certs renew` and `certs show`.

use super::Context;
use crate::args::{CertsCommand, RoleArg};
use crate::failure::Outcome;
use crate::pki::{self, Wish};
use crate::view::CertificatesView;
use holdfast_certs::{Role, Scope};

/// `holdfast certs …`.
pub(super) fn run(context: Context, command: CertsCommand) -> Outcome<()> {
    match command {
        CertsCommand::Init(args) => {
            let scope = if args.agents_only {
                Scope::AgentsOnly
            } else {
                Scope::Everybody
            };
            let made = pki::init(&args.dir, &args.domain, scope, args.days)?;
            context.output.show(&made)
        }
        CertsCommand::Issue(args) => {
            let wish = Wish {
                role: role(args.role),
                name: &args.name,
                dns: args.dns,
                ips: args.ips,
                days: args.days,
            };
            context
                .output
                .show(&pki::issue(&args.ca, &wish, &args.out)?)
        }
        CertsCommand::Renew(args) => context
            .output
            .show(&pki::renew(&args.ca, &args.dir, args.days)?),
        CertsCommand::Show(args) => {
            let certificates = pki::show(&args.path)?;
            context.output.show(&CertificatesView { certificates })
        }
    }
}

fn role(role: RoleArg) -> Role {
    match role {
        RoleArg::Agent => Role::Agent,
        RoleArg::Coordinator => Role::Coordinator,
        RoleArg::Operator => Role::Operator,
        RoleArg::Viewer => Role::Viewer,
    }
}
