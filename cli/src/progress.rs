//! Progress on standard error: bars on a terminal, plain lines elsewhere, nothing with `--quiet`.
//!
//! Library code reports through this type only; it never writes results.

use holdfast_types::ByteCount;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// How far one part of an action has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    /// Units done.
    pub(crate) done: u64,
    /// Units in all; 0 while unknown.
    pub(crate) total: u64,
    /// Of bytes: those that had to be sent. `None` for other units.
    pub(crate) sent: Option<u64>,
    /// Whether the units are bytes.
    pub(crate) bytes: bool,
}

/// Draws progress. Parts are told apart by a key.
pub(crate) struct Progress {
    drawing: Drawing,
}

enum Drawing {
    Silent,
    Bars {
        multi: MultiProgress,
        bars: BTreeMap<String, ProgressBar>,
    },
    Lines {
        out: Box<dyn Write + Send>,
        shown: BTreeMap<String, (String, u64)>,
    },
}

/// Without a known total a line is printed each time this many units are done (bytes: 256 MiB).
const UNKNOWN_STEP: u64 = 256 << 20;

impl Progress {
    /// Bars if standard error is a terminal, else lines.
    pub(crate) fn stderr(quiet: bool) -> Self {
        if quiet {
            return Self {
                drawing: Drawing::Silent,
            };
        }
        if io::stderr().is_terminal() {
            let drawing = Drawing::Bars {
                multi: MultiProgress::new(),
                bars: BTreeMap::new(),
            };
            return Self { drawing };
        }
        Self::lines(Box::new(io::stderr()))
    }

    /// Plain lines into `out`.
    pub(crate) fn lines(out: Box<dyn Write + Send>) -> Self {
        let shown = BTreeMap::new();
        Self {
            drawing: Drawing::Lines { out, shown },
        }
    }

    /// Says something that stays on the screen.
    pub(crate) fn say(&mut self, text: &str) {
        match &mut self.drawing {
            Drawing::Silent => {}
            // Above the bars, or straight out when none is drawn: indicatif drops lines for a hidden target.
            Drawing::Bars { multi, .. } => multi.suspend(|| {
                let _ = writeln!(io::stderr(), "{text}");
            }),
            Drawing::Lines { out, .. } => {
                let _ = writeln!(out, "{text}");
            }
        }
    }

    /// Shows how far the part `key` has come.
    pub(crate) fn update(&mut self, key: &str, stage: &str, amount: Amount) {
        match &mut self.drawing {
            Drawing::Silent => {}
            Drawing::Bars { multi, bars } => {
                let bar = bars
                    .entry(key.to_owned())
                    .or_insert_with(|| new_bar(multi, key, amount));
                if amount.total > 0 && bar.length() != Some(amount.total) {
                    bar.set_length(amount.total);
                    bar.set_style(style(amount));
                }
                bar.set_position(amount.done);
                bar.set_message(message(stage, amount));
            }
            Drawing::Lines { out, shown } => {
                let step = step(amount);
                let now = (stage.to_owned(), step);
                if shown.get(key) != Some(&now) {
                    let _ = writeln!(out, "{key}: {}", plain(stage, amount));
                    shown.insert(key.to_owned(), now);
                }
            }
        }
    }

    /// Removes everything that moves.
    pub(crate) fn clear(&mut self) {
        match &mut self.drawing {
            Drawing::Silent => {}
            Drawing::Bars { bars, .. } => {
                for bar in std::mem::take(bars).into_values() {
                    bar.finish_and_clear();
                }
            }
            Drawing::Lines { shown, .. } => shown.clear(),
        }
    }
}

/// Which tenth (or, without a total, which step of bytes) has been reached.
fn step(amount: Amount) -> u64 {
    if amount.total > 0 {
        u64::try_from(u128::from(amount.done) * 10 / u128::from(amount.total)).unwrap_or(10)
    } else {
        amount.done / UNKNOWN_STEP
    }
}

fn plain(stage: &str, amount: Amount) -> String {
    let show = |n: u64| match amount.bytes {
        true => ByteCount(n).to_string(),
        false => n.to_string(),
    };
    let mut text = stage.to_owned();
    if amount.total > 0 {
        let percent = u128::from(amount.done) * 100 / u128::from(amount.total);
        text.push_str(&format!(
            ", {} of {} ({percent} %)",
            show(amount.done),
            show(amount.total)
        ));
    } else if amount.done > 0 {
        text.push_str(&format!(", {}", show(amount.done)));
    }
    if let Some(sent) = amount.sent {
        text.push_str(&format!(", sent {}", ByteCount(sent)));
    }
    text
}

fn message(stage: &str, amount: Amount) -> String {
    match amount.sent {
        Some(sent) => format!("{stage}, sent {}", ByteCount(sent)),
        None => stage.to_owned(),
    }
}

fn new_bar(multi: &MultiProgress, key: &str, amount: Amount) -> ProgressBar {
    let bar = multi.add(ProgressBar::new(amount.total));
    bar.set_style(style(amount));
    bar.set_prefix(key.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn style(amount: Amount) -> ProgressStyle {
    let template = match (amount.total > 0, amount.bytes) {
        (true, true) => {
            "  {prefix} [{bar:28}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}  {msg}"
        }
        (true, false) => "  {prefix} [{bar:28}] {human_pos}/{human_len}  {msg}",
        (false, true) => "  {prefix} {spinner} {binary_bytes}  {msg}",
        (false, false) => "  {prefix} {spinner} {msg}",
    };
    ProgressStyle::with_template(template)
        .expect("the templates are literals, checked by a test")
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::{Amount, Progress, style};
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").write(buf)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_at_each_new_stage_and_each_tenth_only() {
        let out = Shared::default();
        let mut progress = Progress::lines(Box::new(out.clone()));
        let amount = |done| Amount {
            done,
            total: 1 << 20,
            sent: Some(done / 2),
            bytes: true,
        };
        for done in (0..=1 << 20).step_by(1 << 12) {
            progress.update("n1/products/0", "reading", amount(done));
        }
        progress.update("n1/products/0", "committing", amount(1 << 20));
        progress.say("done");
        let text = String::from_utf8(out.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert_eq!(text.lines().count(), 11 + 1 + 1);
        insta::assert_snapshot!(text.lines().nth(5).unwrap_or_default(), @"n1/products/0: reading, 512.0 KiB of 1.0 MiB (50 %), sent 256.0 KiB");
    }

    #[test]
    fn every_template_is_valid() {
        for (total, bytes) in [(0, false), (0, true), (1, false), (1, true)] {
            style(Amount {
                done: 0,
                total,
                sent: None,
                bytes,
            });
        }
    }
}
