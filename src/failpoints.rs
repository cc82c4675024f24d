//! Places where a build for the fault bench can be made to fail. In every other build they are nothing.
//!
//! With `--features failpoints` the variable `FAILPOINTS` turns them on, in the notation of the crate
//! `fail`: `FAILPOINTS="relay.confirmed=20*off->return"` crashes at the 21st passage,
//! `FAILPOINTS="mutant.M8=return"` builds in a defect that the bench must catch. A defect stands where
//! the right code stands, so that it breaks what that code is there for. `FAILPOINTS="schema.next=return"`
//! plays the version after this one, which has one more migration. Such a build says so in `--version`.

/// What `--version` says.
pub const VERSION: &str = if cfg!(feature = "failpoints") {
    concat!(env!("CARGO_PKG_VERSION"), " with failpoints: not for use")
} else {
    env!("CARGO_PKG_VERSION")
};

/// Ends the process on the spot, as a kill would: nothing is flushed, nothing is dropped.
#[inline]
pub(crate) fn crash(point: &'static str) {
    if is_on(point) {
        std::process::abort();
    }
}

/// The same a little later, when what was just handed out has left.
#[inline]
pub(crate) fn crash_soon(point: &'static str) {
    if is_on(point) {
        std::thread::spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            std::process::abort();
        });
    }
}

/// Does for a deliberate defect what it did not wait for, half a second late.
#[inline]
pub(crate) fn later(work: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        runtime.block_on(work);
    });
}

/// Leaves a task behind that never ends.
#[inline]
pub(crate) fn leave_a_task() {
    drop(tokio::runtime::Handle::current().spawn(std::future::pending::<()>()));
}

/// Ends the task that passes here, as a defect in it would.
#[inline]
pub(crate) fn panic(point: &'static str) {
    assert!(!is_on(point), "failpoint {point}");
}

/// Whether a deliberate defect is on.
#[inline]
pub(crate) fn mutant(name: &'static str) -> bool {
    is_on(name)
}

/// Whether this build plays another version of itself.
#[cfg(feature = "failpoints")]
pub(crate) fn plays(name: &'static str) -> bool {
    is_on(name)
}

#[cfg(not(feature = "failpoints"))]
#[inline]
const fn is_on(_: &'static str) -> bool {
    false
}

#[cfg(feature = "failpoints")]
fn is_on(name: &'static str) -> bool {
    static READ: std::sync::Once = std::sync::Once::new();
    // The points are on until the scenario is dropped, which is never.
    READ.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    fail::fail_point!(name, |_| true);
    false
}
