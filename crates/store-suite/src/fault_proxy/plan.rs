//! Which request suffers what: single faults by chance, storms, and mercy.

use std::collections::HashMap;

/// Requests for one address that are let through after it has suffered as much as mercy allows: more than any one
/// operation needs.
const SPARED: u16 = 12;

/// Requests of a thousand that suffer each fault, and what bounds them. The default plan breaks nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyPlan {
    /// Chooses which requests.
    pub seed: u64,
    /// The connection is reset, and the server never sees the request.
    pub reset_before: u16,
    /// The server does what was asked, and the connection is reset before its answer.
    pub reset_after: u16,
    /// The server does what was asked, and its answer never comes.
    pub hang_after: u16,
    /// The answer is 503, and the server never sees the request.
    pub slow_down: u16,
    /// The connection ends in the middle of the answer.
    pub truncate: u16,
    /// The answer stops in its middle, and the connection stays open.
    pub stall: u16,
    /// The answer dribbles in, but whole.
    pub slow_body: u16,
    /// Both connections are reset in the middle of what is sent to the server. Only requests with a body.
    pub cut_upload: u16,
    /// What is sent to the server dribbles in, but whole. Only requests with a body.
    pub slow_upload: u16,
    /// A storm begins: this request and those after it are answered by 503, whatever they ask for.
    pub storm: u16,
    /// How many requests a storm lasts.
    pub storm_requests: u16,
    /// Faults that an address may suffer before it is spared for a few requests, so that whoever tries once more than that gets through;
    /// 0 for no mercy.
    pub mercy: u16,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    ResetBefore,
    ResetAfter,
    HangAfter,
    SlowDown,
    Truncate,
    Stall,
    SlowBody,
    CutUpload,
    SlowUpload,
    Storm,
}

impl Fault {
    /// Whether it keeps the request from being answered.
    fn breaks(self) -> bool {
        !matches!(self, Self::SlowBody | Self::SlowUpload)
    }

    /// Whether it is in what is sent.
    fn is_of_uploads(self) -> bool {
        matches!(self, Self::CutUpload | Self::SlowUpload)
    }
}

impl ProxyPlan {
    /// The fault of the `n`-th request, by `SplitMix64` (Steele, Lea, Flood 2014) of seed and number.
    pub(super) fn draw(&self, n: u64) -> Option<Fault> {
        let mut z = self
            .seed
            .wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mut left = (z ^ (z >> 31)) % 1000;
        let shares = [
            (Fault::ResetBefore, self.reset_before),
            (Fault::ResetAfter, self.reset_after),
            (Fault::HangAfter, self.hang_after),
            (Fault::SlowDown, self.slow_down),
            (Fault::Truncate, self.truncate),
            (Fault::Stall, self.stall),
            (Fault::SlowBody, self.slow_body),
            (Fault::CutUpload, self.cut_upload),
            (Fault::SlowUpload, self.slow_upload),
            (Fault::Storm, self.storm),
        ];
        for (fault, share) in shares {
            match left.checked_sub(u64::from(share)) {
                Some(rest) => left = rest,
                None => return Some(fault),
            }
        }
        None
    }
}

/// How an address stands.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    faults: u16,
    /// Requests for which it is spared.
    spared: u16,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub(super) struct Weather {
    requests: u64,
    faults: u64,
    storms: u64,
    /// Requests that the present storm still refuses.
    storm: u64,
    standings: HashMap<String, Standing>,
}

impl Weather {
    /// What happens to the next request, which is for this address and has a body or not.
    pub(super) fn next(
        &mut self,
        plan: &ProxyPlan,
        address: &str,
        has_body: bool,
    ) -> Option<Fault> {
        self.requests += 1;
        let drawn = plan.draw(self.requests);
        let fault = if self.storm > 0 {
            self.storm -= 1;
            Some(Fault::Storm)
        } else {
            if drawn == Some(Fault::Storm) {
                self.storms += 1;
                self.storm = u64::from(plan.storm_requests.saturating_sub(1));
            }
            drawn
        };
        let fault = fault.filter(|fault| has_body || !fault.is_of_uploads());
        let fault = fault.filter(|fault| !fault.breaks() || !self.has_mercy(plan, address));
        self.faults += u64::from(fault.is_some());
        fault
    }

    /// Whether an address that would suffer now is spared.
    fn has_mercy(&mut self, plan: &ProxyPlan, address: &str) -> bool {
        if plan.mercy == 0 {
            return false;
        }
        let standing = self.standings.entry(address.to_owned()).or_default();
        if standing.faults < plan.mercy {
            standing.faults += 1;
            return false;
        }
        standing.spared += 1;
        if standing.spared >= SPARED {
            *standing = Standing::default();
        }
        true
    }

    /// The next requests are refused, whatever they ask for; 0 ends a storm.
    pub(super) fn storm(&mut self, requests: u64) {
        self.storms += u64::from(requests > 0);
        self.storm = requests;
    }

    pub(super) fn tally(&self) -> FaultTally {
        FaultTally {
            requests: self.requests,
            faults: self.faults,
            storms: self.storms,
        }
    }
}

/// How many requests came and how many were broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultTally {
    /// All requests.
    pub requests: u64,
    /// Those with a fault.
    pub faults: u64,
    /// Storms that began.
    pub storms: u64,
}

/// What a request is for, of its first line: an object, whatever is asked of it; else all of the line but the version.
pub(super) fn address(head: &str) -> String {
    let line = head.lines().next().unwrap_or_default();
    let target = line.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let is_object = path.trim_matches('/').contains('/');
    if is_object || query.is_empty() {
        path.to_owned()
    } else {
        target.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, ProxyPlan, SPARED, Weather, address};

    #[test]
    fn the_plan_is_kept_and_repeats() {
        let plan = ProxyPlan {
            seed: 7,
            truncate: 100,
            slow_down: 200,
            ..ProxyPlan::default()
        };
        let drawn: Vec<_> = (0..10_000).map(|n| plan.draw(n)).collect();
        let share = |wanted| drawn.iter().filter(|fault| **fault == Some(wanted)).count();
        assert!((800..1200).contains(&share(Fault::Truncate)));
        assert!((1800..2200).contains(&share(Fault::SlowDown)));
        assert_eq!(share(Fault::Stall), 0);
        assert!((0..10_000).all(|n| plan.draw(n) == drawn[usize::try_from(n).unwrap()]));
        assert!((0..1000).all(|n| ProxyPlan::default().draw(n).is_none()));
    }

    #[test]
    fn a_storm_refuses_all_in_a_row() {
        let plan = ProxyPlan {
            seed: 3,
            storm: 5,
            storm_requests: 20,
            ..ProxyPlan::default()
        };
        let mut weather = Weather::default();
        let told: Vec<_> = (0..5000)
            .map(|n| weather.next(&plan, &n.to_string(), false))
            .collect();
        // What the last request cut off is left out.
        let ended = told.iter().rposition(Option::is_none).unwrap();
        let storms: Vec<_> = told[..ended]
            .split(Option::is_none)
            .map(<[_]>::len)
            .filter(|length| *length > 0)
            .collect();
        assert!(storms.len() > 10, "{storms:?}");
        // One may begin right after another.
        assert!(storms.iter().all(|length| length % 20 == 0), "{storms:?}");
        assert!(told.iter().flatten().all(|fault| *fault == Fault::Storm));
        weather.storm(2);
        let asked = [(); 3].map(|()| weather.next(&ProxyPlan::default(), "a", true));
        assert_eq!(asked, [Some(Fault::Storm), Some(Fault::Storm), None]);
    }

    #[test]
    fn an_address_that_suffered_enough_is_spared_for_a_while() {
        let plan = ProxyPlan {
            slow_down: 1000,
            mercy: 3,
            ..ProxyPlan::default()
        };
        let mut weather = Weather::default();
        let mut run = |address: &str| {
            let told = (0..3 + SPARED).map(|_| weather.next(&plan, address, false));
            told.take_while(Option::is_some).count()
        };
        assert_eq!((run("a"), run("b")), (3, 3));
        let mut weather = Weather::default();
        let told: Vec<_> = (0..2 * (3 + SPARED))
            .map(|_| weather.next(&plan, "a", false).is_some())
            .collect();
        assert_eq!(told.iter().filter(|broken| **broken).count(), 6);
        assert!(told[usize::from(3 + SPARED)], "mercy ends");
    }

    #[test]
    fn faults_of_uploads_need_one() {
        let plan = ProxyPlan {
            cut_upload: 1000,
            ..ProxyPlan::default()
        };
        let mut weather = Weather::default();
        assert_eq!(weather.next(&plan, "a", false), None);
        assert_eq!(weather.next(&plan, "a", true), Some(Fault::CutUpload));
        assert_eq!((weather.tally().requests, weather.tally().faults), (2, 1));
    }

    #[test]
    fn an_object_is_one_address_and_a_listing_is_what_it_lists() {
        for (line, wanted) in [
            ("GET /b/suite/1/points/x HTTP/1.1", "/b/suite/1/points/x"),
            (
                "PUT /b/suite/1/points/x?partNumber=2 HTTP/1.1",
                "/b/suite/1/points/x",
            ),
            (
                "GET /b/?list-type=2&prefix=a HTTP/1.1",
                "/b/?list-type=2&prefix=a",
            ),
            (
                "GET /b?list-type=2&prefix=c HTTP/1.1",
                "/b?list-type=2&prefix=c",
            ),
            ("HEAD /b HTTP/1.1", "/b"),
        ] {
            assert_eq!(address(&format!("{line}\r\nHost: x\r\n")), wanted);
        }
    }
}
