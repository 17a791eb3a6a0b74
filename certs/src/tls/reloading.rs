//! A TLS configuration that is swapped as a whole. Readers never wait for a reload.

use super::pair::{Pair, Usage};
use super::watching::{Signature, signature};
use super::{Reload, TlsError, TlsPaths};
use crate::certificate::CertificateInfo;
use crate::identity::Identity;
use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch as channel;

/// Makes a configuration from a verified pair.
type Build<C> = fn(&Pair) -> Result<C, TlsError>;

pub(super) struct Reloading<C> {
    paths: TlsPaths,
    usage: Usage,
    build: Build<C>,
    current: ArcSwap<Current<C>>,
    /// One reload at a time.
    reloading: Mutex<()>,
    changes: channel::Sender<u64>,
    /// What the files looked like before they were first read.
    loaded_from: Signature,
}

pub(super) struct Current<C> {
    pub(super) config: Arc<C>,
    pub(super) identity: Identity,
    pub(super) info: CertificateInfo,
    pub(super) key: Arc<CertifiedKey>,
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) authority: CertificateDer<'static>,
    ders: Vec<CertificateDer<'static>>,
}

impl<C> Reloading<C> {
    pub(super) fn load(
        paths: TlsPaths,
        usage: Usage,
        build: Build<C>,
        now: UnixTime,
    ) -> Result<Self, TlsError> {
        let loaded_from = signature(&paths);
        let pair = Pair::load(&paths, usage, now)?;
        let current = Current::new(pair, build)?;
        Ok(Self {
            paths,
            usage,
            build,
            current: ArcSwap::from_pointee(current),
            reloading: Mutex::new(()),
            changes: channel::Sender::new(0),
            loaded_from,
        })
    }

    pub(super) fn current(&self) -> Arc<Current<C>> {
        self.current.load_full()
    }

    pub(super) fn paths(&self) -> &TlsPaths {
        &self.paths
    }

    pub(super) fn loaded_from(&self) -> Signature {
        self.loaded_from
    }

    pub(super) fn changes(&self) -> channel::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn reload(&self) -> Result<Reload, TlsError> {
        let _one_at_a_time = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let pair = Pair::load(&self.paths, self.usage, UnixTime::now())?;
        let old = self.current();
        if pair.identity != old.identity {
            return Err(TlsError::OtherIdentity {
                cert: self.paths.cert.clone(),
                old: Box::new(old.identity.clone()),
                new: Box::new(pair.identity),
            });
        }
        if pair.ders == old.ders {
            return Ok(Reload::Unchanged);
        }
        self.current
            .store(Arc::new(Current::new(pair, self.build)?));
        self.changes.send_modify(|count| *count += 1);
        Ok(Reload::Swapped)
    }
}

impl<C> Current<C> {
    fn new(pair: Pair, build: Build<C>) -> Result<Self, TlsError> {
        let config = Arc::new(build(&pair)?);
        Ok(Self {
            config,
            identity: pair.identity,
            info: pair.info,
            key: pair.key,
            authorities: pair.authorities,
            authority: pair.authority,
            ders: pair.ders,
        })
    }
}

impl<C> fmt::Debug for Reloading<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading")
            .field("paths", &self.paths)
            .field("identity", &self.current().identity)
            .finish_non_exhaustive()
    }
}
