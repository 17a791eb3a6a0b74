//! Enrolment: tokens by which the agents of new nodes get their certificates, each once.
//!
//! Of a token only the hash of its secret is kept. That it was used is durable before the certificate goes out: if the
//! answer is lost on its way, the token is spent, and a certificate that nobody has is no harm. An operator makes tokens;
//! [`redeem`] takes them from callers who are nobody yet, so it believes nothing before the secret is known.

mod redeem;
mod throttle;

pub use redeem::{Application, redeem};
use throttle::Throttle;

use crate::catalog::{Catalog, CatalogError};
use crate::config::EnrolmentSection;
use crate::core::Core;
use crate::fault::Fault;
use crate::members::Mark;
use holdfast_certs::ca;
use holdfast_certs::enrol::EnrolToken;
use holdfast_certs::{Fingerprint, ServerTls};
use holdfast_service::failure::Code;
use holdfast_types::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

/// How long a token can be used, if nobody says otherwise.
const USUAL: Duration = Duration::from_hours(1);
/// A token that lies about for longer is a key under the mat.
const LONGEST: Duration = Duration::from_hours(24 * 7);
const SHORTEST: Duration = Duration::from_mins(1);
/// Tokens that can be used at one time.
const MOST_OPEN: usize = 1000;
/// What became of a token is told for so long after its end.
const REMEMBERED: Duration = Duration::from_hours(24 * 30);
/// Digits of the hash that name a token.
const ID_DIGITS: usize = 12;

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Of its secret.
    pub hash: String,
    /// Whose agent it makes.
    pub node: NodeId,
    /// When and by whom it was made.
    pub made: Mark,
    /// It can't be used from then on.
    pub expires: Timestamp,
    /// Set when it was used or revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// How a token ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// A certificate was issued for it.
    Used {
        /// When.
        at: Timestamp,
        /// To which address.
        from: String,
        /// The certificate's serial number.
        serial: String,
    },
    /// An operator ended it.
    Revoked {
        /// When.
        at: Timestamp,
        /// Who.
        by: String,
    },
}

/// How a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// It can be used.
    Open,
    /// It was used.
    Used,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

/// The tokens of a coordinator.
#[derive(Debug)]
pub struct Enrolments {
    /// Absent where nobody is enrolled.
    section: Option<EnrolmentSection>,
    tokens: RwLock<BTreeMap<String, TokenRecord>>,
    /// One change at a time: a token is used once.
    changing: tokio::sync::Mutex<()>,
    failed: Throttle,
}

impl TokenState {
    /// The word for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl TokenRecord {
    /// The name by which operators speak of it.
    #[must_use]
    pub fn id(&self) -> &str {
        self.hash.get(..ID_DIGITS).unwrap_or(&self.hash)
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> TokenState {
        match &self.ended {
            Some(Ended::Used { .. }) => TokenState::Used,
            Some(Ended::Revoked { .. }) => TokenState::Revoked,
            None if now >= self.expires => TokenState::Expired,
            None => TokenState::Open,
        }
    }

    fn end(&self) -> Timestamp {
        match &self.ended {
            Some(Ended::Used { at, .. } | Ended::Revoked { at, .. }) => *at,
            None => self.expires,
        }
    }
}

impl Enrolments {
    /// What was recorded before; `section` is absent where nobody is enrolled.
    #[must_use]
    pub fn new(section: Option<EnrolmentSection>, tokens: Vec<TokenRecord>) -> Self {
        let tokens = tokens.into_iter().map(|token| (token.hash.clone(), token));
        Self {
            section,
            tokens: RwLock::new(tokens.collect()),
            changing: tokio::sync::Mutex::default(),
            failed: Throttle::default(),
        }
    }

    /// How agents are enrolled.
    ///
    /// # Errors
    /// `config` where they are not.
    pub fn section(&self) -> Result<&EnrolmentSection, Fault> {
        self.section.as_ref().ok_or_else(|| {
            Fault::new(
                Code::Config,
                "this coordinator enrols nobody: it has no key of an authority ([enrolment] in its configuration); issue the certificate with `holdfast certs issue --role agent` where the key is",
            )
        })
    }

    /// Every token that is remembered, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<TokenRecord> {
        let mut tokens: Vec<TokenRecord> = self.read().values().cloned().collect();
        tokens.sort_by(|a, b| (b.made.since, &b.hash).cmp(&(a.made.since, &a.hash)));
        tokens
    }

    async fn put(
        &self,
        catalog: &Catalog,
        token: TokenRecord,
        forget: Vec<String>,
    ) -> Result<(), CatalogError> {
        catalog
            .put_tokens(vec![token.clone()], forget.clone())
            .await?;
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|hash, _| !forget.contains(hash));
        tokens.insert(token.hash.clone(), token);
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, TokenRecord>> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a coordinator with this identity can enrol as it is configured to: the authority can sign, and its peers accept
/// what it signs.
///
/// # Errors
/// `certificate`.
pub fn check(section: &EnrolmentSection, tls: &ServerTls) -> Result<(), Fault> {
    let usable = ca::check(&section.ca_cert, &section.ca_key);
    usable.map_err(|error| Fault::from_error(Code::Certificate, &error).within("enrolment"))?;
    if tls.trusts(&section.ca_cert) {
        return Ok(());
    }
    Err(Fault::new(
        Code::Certificate,
        format!(
            "enrolment.ca_cert: {} is not among the authorities of tls.ca, so that agents that it enrols would be turned away: add it there",
            section.ca_cert.display()
        ),
    ))
}

/// Makes a token for the agent of `node`, for an operator to hand to it. `pin` is the authority of this coordinator's own certificate.
///
/// # Errors
/// `config` where nobody is enrolled; `usage` of a time that can't be meant; an authority that can't sign; a failing catalogue.
pub async fn create(
    core: &Core,
    pin: Fingerprint,
    node: NodeId,
    valid: Option<Duration>,
    by: String,
) -> Result<(EnrolToken, TokenRecord), Fault> {
    let enrolments = &core.enrolments;
    let section = enrolments.section()?;
    let valid = valid.unwrap_or(USUAL);
    if !(SHORTEST..=LONGEST).contains(&valid) {
        return Err(Fault::new(
            Code::Usage,
            "a token is valid for a minute at least and for seven days at most",
        ));
    }
    let now = core.clock.now();
    let authority = ca::check(&section.ca_cert, &section.ca_key)
        .map_err(|error| Fault::from_error(Code::Certificate, &error))?;
    if now.after(section.validity).after(valid) > authority.not_after {
        return Err(Fault::new(
            Code::Certificate,
            format!(
                "the authority is valid until {} only, and the certificate would be for longer: lower enrolment.days, or make a new authority",
                authority.not_after
            ),
        ));
    }
    let token =
        EnrolToken::generate(pin).map_err(|error| Fault::from_error(Code::Internal, &error))?;
    let record = TokenRecord {
        hash: token.secret().hash(),
        node,
        made: Mark {
            since: now,
            by,
            reason: String::new(),
        },
        expires: now.after(valid),
        ended: None,
    };
    let _one_at_a_time = enrolments.changing.lock().await;
    let open = |token: &&TokenRecord| token.state(now) == TokenState::Open;
    if enrolments.read().values().filter(open).count() >= MOST_OPEN {
        return Err(Fault::new(
            Code::JobConflict,
            format!("{MOST_OPEN} tokens are open: revoke some, or wait until they expire"),
        ));
    }
    let old = |token: &&TokenRecord| now.since(token.end()) > REMEMBERED;
    let old = enrolments
        .read()
        .values()
        .filter(old)
        .map(|t| t.hash.clone())
        .collect();
    record_token(core, record.clone(), old).await?;
    tracing::info!(audit = "enrolment", node = %record.node, token = record.id(), by = record.made.by, expires = %record.expires, "an enrolment token was made");
    Ok((token, record))
}

/// Ends the token whose id begins so, before it is used.
///
/// # Errors
/// `token-unknown`; `token-used` of one that can't be ended any more; a failing catalogue.
pub async fn revoke(core: &Core, id: &str, by: String) -> Result<TokenRecord, Fault> {
    let enrolments = &core.enrolments;
    let _one_at_a_time = enrolments.changing.lock().await;
    let mut record = find(enrolments, id)?;
    let now = core.clock.now();
    match record.state(now) {
        TokenState::Open | TokenState::Expired => {}
        state @ (TokenState::Used | TokenState::Revoked) => {
            return Err(Fault::new(
                Code::TokenUsed,
                format!(
                    "token {} was {} at {}; to keep its agent out, remove the node: `holdfast nodes remove {}`",
                    record.id(),
                    state.as_str(),
                    record.end(),
                    record.node
                ),
            ));
        }
    }
    record.ended = Some(Ended::Revoked {
        at: now,
        by: by.clone(),
    });
    record_token(core, record.clone(), Vec::new()).await?;
    tracing::info!(audit = "enrolment", node = %record.node, token = record.id(), by, "an enrolment token was revoked");
    Ok(record)
}

/// Revokes every token of a node that can still be used.
///
/// # Errors
/// A failing catalogue.
pub async fn revoke_of(core: &Core, node: &NodeId, by: &str) -> Result<(), Fault> {
    let enrolments = &core.enrolments;
    let _one_at_a_time = enrolments.changing.lock().await;
    let now = core.clock.now();
    let open: Vec<TokenRecord> = {
        let tokens = enrolments.read();
        let of_node = tokens.values().filter(|token| token.node == *node);
        let open = of_node.filter(|token| token.state(now) == TokenState::Open);
        open.cloned().collect()
    };
    for mut record in open {
        record.ended = Some(Ended::Revoked {
            at: now,
            by: by.to_owned(),
        });
        tracing::info!(audit = "enrolment", %node, token = record.id(), by, "an enrolment token was revoked with its node");
        record_token(core, record, Vec::new()).await?;
    }
    Ok(())
}

fn find(enrolments: &Enrolments, id: &str) -> Result<TokenRecord, Fault> {
    let tokens = enrolments.read();
    let mut found = tokens
        .values()
        .filter(|token| !id.is_empty() && token.id().starts_with(id));
    match (found.next(), found.next()) {
        (Some(token), None) => Ok(token.clone()),
        (Some(_), Some(_)) => Err(Fault::new(
            Code::Usage,
            format!("several tokens begin with {id}: give more of its digits"),
        )),
        (None, _) => Err(Fault::new(
            Code::TokenUnknown,
            format!("there is no token {id:?}"),
        )),
    }
}

async fn record_token(core: &Core, token: TokenRecord, forget: Vec<String>) -> Result<(), Fault> {
    let written = core.enrolments.put(&core.catalog, token, forget).await;
    written.map_err(|error| Fault::from_error(Code::Internal, &error))
}
