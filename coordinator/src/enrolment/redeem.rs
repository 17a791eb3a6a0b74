//! Takes a token from a caller who is nobody yet, and gives a certificate for it.

use super::{Ended, TokenRecord, TokenState, record_token};
use crate::core::Core;
use crate::fault::Fault;
use crate::observe::MAX_CLOCK_OFFSET;
use crate::rpc::wire::PROGRAM_VERSION;
use holdfast_certs::Role;
use holdfast_certs::ca::{self, Signed, SigningRequest};
use holdfast_certs::enrol::Secret;
use holdfast_service::failure::Code;
use holdfast_types::{ClusterName, NodeId, Timestamp, fitting_releases, releases_fit};
use std::net::SocketAddr;
use std::time::Instant;

/// What an applicant says.
#[derive(Debug)]
pub struct Application {
    /// The token's secret.
    pub secret: Secret,
    /// The node that it serves.
    pub node: NodeId,
    /// The deployment that it is configured for.
    pub cluster: ClusterName,
    /// The request for its certificate, in DER form.
    pub csr: Vec<u8>,
    /// Its clock.
    pub now: Timestamp,
    /// Its release.
    pub program: String,
}

/// Judges an application, and signs it. Every outcome is logged, with the address.
///
/// # Errors
/// `throttled`, `token-unknown`, `token-used`, `token-expired`, `token-other-node`, and what speaks against the agent itself; the
/// token can be used again then.
pub async fn redeem(
    core: &Core,
    application: &Application,
    from: SocketAddr,
) -> Result<Signed, Fault> {
    let failed = &core.enrolments.failed;
    if failed.is_exhausted(from.ip(), Instant::now()) {
        return Err(Fault::new(
            Code::Throttled,
            "too many attempts from this address have failed: wait a minute",
        ));
    }
    let granted = grant(core, application, from).await;
    let node = &application.node;
    match &granted {
        Ok(signed) => {
            tracing::info!(audit = "enrolment", %node, %from, serial = signed.info.serial, not_after = %signed.info.not_after, "an agent was enrolled");
        }
        Err(fault) => {
            failed.failed(from.ip(), Instant::now());
            tracing::warn!(audit = "enrolment", %node, %from, code = fault.code, reason = %fault, "an enrolment was refused");
        }
    }
    granted
}

async fn grant(core: &Core, application: &Application, from: SocketAddr) -> Result<Signed, Fault> {
    let enrolments = &core.enrolments;
    let section = enrolments.section()?;
    // Until it is recorded that the token was used, nobody else may use it.
    let _one_at_a_time = enrolments.changing.lock().await;
    let hash = application.secret.hash();
    let token = enrolments.read().get(&hash).cloned();
    let now = core.clock.now();
    let token = judge(token, &application.node, now)?;
    check_agent(core, application, now)?;
    let request = SigningRequest {
        csr: &application.csr,
        role: Role::Agent,
        name: &application.node,
        validity: section.validity,
        // What began before the node's removal would be refused.
        not_before: core.members.get(&application.node).refused_before,
    };
    let signed = ca::sign((&section.ca_cert, &section.ca_key), &request, now);
    let signed = signed.map_err(|error| Fault::from_error(Code::Certificate, &error))?;
    let used = TokenRecord {
        ended: Some(Ended::Used {
            at: now,
            from: from.to_string(),
            serial: signed.info.serial.clone(),
        }),
        ..token
    };
    record_token(core, used, Vec::new()).await?;
    Ok(signed)
}

/// Whether a token makes the agent of this node now.
fn judge(token: Option<TokenRecord>, node: &NodeId, now: Timestamp) -> Result<TokenRecord, Fault> {
    let Some(token) = token else {
        return Err(Fault::new(
            Code::TokenUnknown,
            "there is no enrolment token with this secret: see that it was copied whole, and that it is of this coordinator",
        ));
    };
    let again = format!("`holdfast nodes enrol {}` makes a new one", token.node);
    match token.state(now) {
        TokenState::Open => {}
        state @ (TokenState::Used | TokenState::Revoked) => {
            return Err(Fault::new(
                Code::TokenUsed,
                format!(
                    "the enrolment token {} was {} at {}: {again}",
                    token.id(),
                    state.as_str(),
                    token.end()
                ),
            ));
        }
        TokenState::Expired => {
            return Err(Fault::new(
                Code::TokenExpired,
                format!(
                    "the enrolment token {} expired at {}: {again}",
                    token.id(),
                    token.expires
                ),
            ));
        }
    }
    if token.node != *node {
        return Err(Fault::new(
            Code::TokenOtherNode,
            format!(
                "the enrolment token {} was made for node {}, and this agent is configured as {node}: `holdfast nodes enrol {node}` makes one for it",
                token.id(),
                token.node
            ),
        ));
    }
    Ok(token)
}

/// What would keep the agent out afterwards is said before the token is spent.
fn check_agent(core: &Core, application: &Application, now: Timestamp) -> Result<(), Fault> {
    if application.cluster != core.cluster {
        return Err(Fault::new(
            Code::Config,
            format!(
                "this agent is configured for cluster {}, this coordinator looks after {}: check `cluster` in both configurations",
                application.cluster, core.cluster
            ),
        ));
    }
    if !releases_fit(PROGRAM_VERSION, &application.program) {
        return Err(Fault::new(
            Code::VersionMismatch,
            format!(
                "this agent is release {}, the coordinator is {PROGRAM_VERSION}: install holdfast-agent {}",
                application.program,
                fitting_releases(PROGRAM_VERSION)
            ),
        ));
    }
    let apart = application.now.distance(now);
    if apart > MAX_CLOCK_OFFSET {
        return Err(Fault::new(
            Code::ClockSkew,
            format!(
                "the clocks of this machine and of the coordinator are {} s apart, and the certificate would not be valid here when it should be: set both by NTP, then use the same token again",
                apart.as_secs()
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::enrolment::{Ended, TokenRecord};
    use crate::fixture::NOW;
    use crate::members::Mark;
    use std::time::Duration;

    fn token() -> TokenRecord {
        TokenRecord {
            hash: "ab".repeat(32),
            node: "n1".parse().unwrap(),
            made: Mark {
                since: NOW,
                by: "alice".into(),
                reason: String::new(),
            },
            expires: NOW.after(Duration::from_secs(60)),
            ended: None,
        }
    }

    #[test]
    fn a_token_is_good_for_its_node_once_and_for_its_time() {
        let n1 = "n1".parse().unwrap();
        assert!(judge(Some(token()), &n1, NOW).is_ok());
        let used = TokenRecord {
            ended: Some(Ended::Used {
                at: NOW,
                from: "10.0.0.1:7".into(),
                serial: "1".into(),
            }),
            ..token()
        };
        let revoked = TokenRecord {
            ended: Some(Ended::Revoked {
                at: NOW,
                by: "bob".into(),
            }),
            ..token()
        };
        let late = NOW.after(Duration::from_secs(60));
        for (token, node, now, code) in [
            (None, "n1", NOW, "token-unknown"),
            (Some(token()), "n2", NOW, "token-other-node"),
            (Some(token()), "n1", late, "token-expired"),
            (Some(used.clone()), "n1", NOW, "token-used"),
            (Some(used), "n2", late, "token-used"),
            (Some(revoked), "n1", NOW, "token-used"),
        ] {
            let fault = judge(token, &node.parse().unwrap(), now).unwrap_err();
            assert_eq!(fault.code, code);
            // Neither the hash nor anything like a secret is told.
            assert!(!fault.message.contains(&"ab".repeat(7)), "{fault}");
        }
    }
}
