//! Bars for long work: on a terminal, on standard error, and nowhere else.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressStyle};

pub(super) use indicatif::ProgressBar;

const TEMPLATE: &str = "{prefix}{bar:40} {pos}/{len}  {per_sec}  {eta} left  {msg}";

const TICK: Duration = Duration::from_millis(100);

/// A bar up to `count` (places of the log may be given as they are), with a speed and the time that is left; hidden where
/// nobody looks, and where `quiet`.
pub(super) fn bar(count: impl TryInto<u64>, quiet: bool) -> ProgressBar {
    match !quiet && std::io::stderr().is_terminal() {
        true => styled(ProgressBar::new(number(count))),
        false => ProgressBar::hidden(),
    }
}

/// Moves a bar there.
pub(super) fn move_to(bar: &ProgressBar, at: impl TryInto<u64>) {
    bar.set_position(number(at));
}

fn number(count: impl TryInto<u64>) -> u64 {
    count.try_into().unwrap_or(0)
}

/// Says what goes on and for how long already, where nobody knows how much is left; hidden where nobody looks.
pub(super) fn spinner(what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::new_spinner()
        .with_style(style)
        .with_message(what);
    spinner.tick();
    spinner.enable_steady_tick(TICK);
    spinner
}

/// Several bars, one under the other.
pub(super) struct Bars(Option<MultiProgress>);

impl Bars {
    /// None yet; `quiet` hides them.
    pub(super) fn new(quiet: bool) -> Self {
        Self((!quiet && std::io::stderr().is_terminal()).then(MultiProgress::new))
    }

    /// One more, under its name.
    pub(super) fn add(&self, name: &str) -> ProgressBar {
        let Some(bars) = &self.0 else {
            return ProgressBar::hidden();
        };
        styled(bars.add(ProgressBar::new(0))).with_prefix(format!("{name} "))
    }
}

fn styled(bar: ProgressBar) -> ProgressBar {
    let style = ProgressStyle::with_template(TEMPLATE);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
