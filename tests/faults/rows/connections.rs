//! Connections that are meant to hurt (rows H): slow ones, idle ones, too many, bodies without an end.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::harness::ghl::PATH;
use crate::harness::{Client, eventually};
use crate::lab::{Answered, Crafted, Lab, Outcome, Run, WITHIN};
use crate::records::FaultKind;

/// On top of a deadline of the daemon, for a machine that is busy with other things.
const NOISE: Duration = Duration::from_secs(4);

/// What a slow sender does.
#[derive(Clone, Copy)]
enum Slow {
    /// Connects, and nothing more.
    Silent,
    /// Sends a part, and nothing more.
    Stops(usize),
    /// Sends a byte at a time.
    Drips(usize),
}

/// Does so until the connection is closed; what was answered, and how long after its connect began.
/// None if it stood longer than `within`.
async fn slow(
    run: &Run,
    how: Slow,
    request: &[u8],
    within: Duration,
) -> Option<(String, Duration)> {
    // The daemon's time begins when it takes the connection, which may be long before this task is told.
    let since = Instant::now();
    let mut client = Client::connect(run.entrance()).await.ok()?;
    let (at_once, drips) = match how {
        Slow::Silent => (0, false),
        Slow::Stops(count) => (count, false),
        Slow::Drips(count) => (count, true),
    };
    // A refusal shows in what is read.
    let _ = client.write(&request[..at_once]).await;
    let mut rest = request[at_once..].iter();
    loop {
        if let Ok(came) = client.until_closed(Duration::from_millis(200)).await {
            return Some((String::from_utf8_lossy(&came).into_owned(), since.elapsed()));
        }
        if within < since.elapsed() {
            return None;
        }
        if let Some(byte) = rest.next().filter(|_| drips) {
            let _ = client.write(&[*byte]).await;
        }
    }
}

/// A good one, were it ever sent to its end.
fn a_request() -> Vec<u8> {
    Crafted::signed(vec![b' '; 2000]).bytes()
}

/// States that each of them was closed by a deadline.
fn closed_by(run: &mut Run, what: &str, ends: &[Option<(String, Duration)>], deadline: Duration) {
    let open = ends.iter().filter(|end| end.is_none()).count();
    run.expect(&format!("{open} {what} stood too long"), open == 0);
    let times = ends.iter().flatten().map(|(_, time)| *time);
    let longest = times.max().unwrap_or_default();
    run.expect("each is closed at the deadline", longest <= deadline);
    let (count, seconds) = (ends.len(), longest.as_secs_f64());
    run.figure(format!("{count} closed within {seconds:.1} s"));
}

/// States that good senders were not slowed down by what bad ones did.
fn unhurt(run: &mut Run, calm: &Answered, faulty: &Answered) {
    run.figure(format!(
        "p99 of good senders {} ms, {} ms before",
        faulty.p99().as_millis(),
        calm.p99().as_millis()
    ));
    let most = (4 * calm.p99()).max(Duration::from_secs(1));
    run.expect("good senders are answered as before", faulty.p99() <= most);
    run.expect("good senders are answered at all", faulty.count() > 0);
}

/// H-04: thousands of connections whose heads never end.
pub async fn slow_heads(lab: Lab) -> Outcome {
    const HEAD: Duration = Duration::from_secs(3);
    let mut run = lab
        .setup()
        // More than come at once, however slowly this machine ends them: what is over is refused at once.
        .daemon(|config| config.set("http", "header_timeout = \"3s\"\nmax_connections = 6000"))
        .plan(|plan| (plan.other_clients, plan.deadline_us) = (true, 10_000_000))
        .start()
        .await;
    run.more(400).await;
    let calm = run.answered(0, run.clock().micros());
    let count = lab.times(2000, 4000);
    for _ in 0..lab.times(1, 5) {
        let from = run.clock().micros();
        run.fault(FaultKind::Other, "slow heads", async |run| {
            let request = a_request();
            // The head's end stands far behind what is sent in so short a time.
            let modes = [Slow::Silent, Slow::Stops(40), Slow::Drips(10)];
            let request = &request;
            let all = (0..count).map(async |n| {
                // All at once would be more than a listener's backlog, and the kernel's business.
                sleep(Duration::from_millis(n as u64)).await;
                slow(run, modes[n % 3], request, HEAD + NOISE + NOISE).await
            });
            let ends = join_all(all).await;
            closed_by(run, "connections without a head", &ends, HEAD + NOISE);
            let too_soon = ends
                .iter()
                .flatten()
                .filter(|(_, time)| *time < HEAD / 2)
                .count();
            run.expect("none is closed before", too_soon == 0);
        })
        .await;
        let faulty = run.answered(from, run.clock().micros());
        unhurt(&mut run, &calm, &faulty);
    }
    run.more(100).await;
    run.judge().await
}

/// H-05: bodies that stop in their midst, or come a byte at a time.
pub async fn slow_bodies(lab: Lab) -> Outcome {
    const BODY: Duration = Duration::from_secs(2);
    let mut run = lab
        .setup()
        .daemon(|config| config.set("http", "body_timeout = \"2s\""))
        .plan(|plan| (plan.other_clients, plan.deadline_us) = (true, 10_000_000))
        .start()
        .await;
    run.more(400).await;
    let calm = run.answered(0, run.clock().micros());
    let count = lab.times(300, 2000);
    let from = run.clock().micros();
    run.fault(FaultKind::Other, "slow bodies", async |run| {
        let request = a_request();
        let half = request.len() - 1000;
        let modes = [Slow::Stops(half), Slow::Drips(half)];
        let request = &request;
        let all = (0..count).map(async |n| {
            // As above: not more at once than a listener's backlog.
            sleep(Duration::from_millis(n as u64)).await;
            slow(run, modes[n % 2], request, BODY + NOISE + NOISE).await
        });
        let ends = join_all(all).await;
        closed_by(run, "connections without a body", &ends, BODY + NOISE);
        let told = ends
            .iter()
            .flatten()
            .filter(|(came, _)| came.starts_with("HTTP/1.1 408"));
        let told = told.count();
        run.expect(
            &format!("each is told 408, not {told} of {count}"),
            told == count,
        );
    })
    .await;
    let faulty = run.answered(from, run.clock().micros());
    unhurt(&mut run, &calm, &faulty);
    run.more(100).await;
    // That none of it is stored says the log: nobody posted it.
    run.judge().await
}

/// H-06: more connections than the process may have files.
pub async fn out_of_files(lab: Lab) -> Outcome {
    const FILES: usize = 256;
    let mut run = lab
        .setup()
        .daemon(|mut config| {
            config.wrapper = ["prlimit", "--nofile=256"].map(ToOwned::to_owned).to_vec();
            config.set("http", "header_timeout = \"5s\"")
        })
        .plan(|plan| plan.other_clients = true)
        .load(|load| load.rate = 30.0)
        .start()
        .await;
    run.more(100).await;
    let errors = "hookwell_http_accept_errors_total";
    for _ in 0..lab.times(2, 10) {
        let span = Duration::from_secs(lab.times(4, 20) as u64);
        run.fault(
            FaultKind::Client,
            "connections beyond the files",
            async |run| {
                let before = cpu_seconds(run);
                let mut crowd = Crowd::gather(run, 4 * FILES).await;
                let since = Instant::now();
                while since.elapsed() < span {
                    // Whoever is closed comes again, so that there is never room.
                    crowd.refill(run).await;
                    sleep(Duration::from_millis(100)).await;
                }
                let busy = (cpu_seconds(run) - before) / since.elapsed().as_secs_f64();
                run.figure(format!("{:.0} % of a processor", 100.0 * busy));
                run.expect("accepting does not spin", busy < 0.7);
            },
        )
        .await;
        // A crowd that is gone takes its files along.
        eventually("it shows metrics again", WITHIN, async || {
            (run.daemon().ready().await == Some(200)).then_some(())
        })
        .await;
        run.more(100).await;
    }
    let failed = run.daemon().metric(errors).await.unwrap_or(0.0);
    run.figure(format!("{failed} accepts failed"));
    run.expect("there were no files left", failed > 0.0);
    run.judge().await
}

/// Connections of H-06-cap, where there are files for so many.
const CROWD: usize = 20_000;
/// Files that are kept for everything else, other rows at the same time among it.
const OTHERS: usize = 2_500;

/// How many files this process may have.
fn files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    soft.and_then(|soft| soft.parse().ok())
        .unwrap_or(usize::MAX)
}

/// H-06-cap: more connections than the configuration allows.
pub async fn over_the_cap(lab: Lab) -> Outcome {
    const CAP: usize = 200;
    const HEAD: u64 = 5;
    let mut run = lab
        .setup()
        .daemon(|config| config.set("http", "max_connections = 200\nheader_timeout = \"5s\""))
        .plan(|plan| plan.other_clients = true)
        .start()
        .await;
    run.more(200).await;
    // Each takes a file of this process, too.
    let count = lab.times(2000, CROWD.min(files().saturating_sub(OTHERS)));
    run.fault(FaultKind::Client, "connections over the cap", async |run| {
        let since = Instant::now();
        let mut crowd = Crowd::gather(run, count).await;
        // As many as may be there, and those that came when they were closed.
        let let_in = CAP * (2 + usize::try_from(since.elapsed().as_secs() / HEAD).unwrap());
        let refused = run
            .daemon()
            .metric("hookwell_http_connections_refused_total")
            .await;
        run.expect("most are refused", refused >= Some((count - let_in) as f64));
        let open = run.daemon().metric("hookwell_http_connections").await;
        run.expect("no more are open than may be", open <= Some(CAP as f64));
        let told = crowd.told().await;
        run.figure(format!("{told} of {count} told 429"));
        run.expect("those are told 429", told >= (count - let_in) * 9 / 10);
    })
    .await;
    run.more(200).await;
    run.judge().await
}

/// Connections that do nothing.
struct Crowd(Vec<Option<Client>>);

impl Crowd {
    async fn gather(run: &Run, count: usize) -> Self {
        let mut crowd = Self((0..count).map(|_| None).collect());
        crowd.refill(run).await;
        crowd
    }

    /// Replaces those that were closed.
    async fn refill(&mut self, run: &Run) {
        // Some at a time: a full backlog would make each wait for a second.
        for some in self.0.chunks_mut(100) {
            let each = some.iter_mut().map(async |place| {
                let gone = match place {
                    None => true,
                    Some(client) => client.is_closed(Duration::from_micros(100)).await,
                };
                if gone {
                    let connecting = Client::connect(run.entrance());
                    let connected = tokio::time::timeout(Duration::from_millis(500), connecting);
                    *place = connected.await.ok().and_then(Result::ok);
                }
            });
            join_all(each).await;
        }
    }

    /// How many were answered 429 without having asked.
    async fn told(&mut self) -> usize {
        let all = self.0.iter_mut().flatten();
        let answers = all.map(async |client| {
            let came = client.until_closed(Duration::from_millis(500)).await;
            came.is_ok_and(|came| came.starts_with(b"HTTP/1.1 429"))
        });
        let told = join_all(answers).await;
        told.into_iter().filter(|told| *told).count()
    }
}

/// Of the daemon, since its start.
fn cpu_seconds(run: &Run) -> f64 {
    let stat = format!("/proc/{}/stat", run.daemon().pid());
    let stat = std::fs::read_to_string(stat).unwrap();
    // Behind the name, which may hold anything: fields 14 and 15 of all, in hundredths.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |place: usize| fields[place].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// H-07: bodies over the limit, with an honest length, a false one and none, as large as they like.
pub async fn large_bodies(lab: Lab) -> Outcome {
    const MEMORY: u64 = 16 << 20;
    let mut run = lab
        .setup()
        .daemon(|config| config.set("http", "max_body = \"512KiB\"\nmax_body_memory = \"16MiB\""))
        .plan(|plan| plan.other_clients = true)
        .start()
        .await;
    run.more(400).await;
    let before = run.held().rss_bytes;
    let size = lab.times(64, 2048) << 20;
    for round in 0..lab.times(2, 10) {
        run.fault(FaultKind::Other, "bodies over the limit", async |run| {
            let senders = (0..48).map(|n| oversized(run, n % 3, size));
            let statuses = join_all(senders).await;
            for (n, statuses) in statuses.iter().enumerate() {
                // One who never stops may be cut off before he reads an answer.
                let good = match n % 3 {
                    1 => statuses.iter().all(|status| (400..500).contains(status)),
                    _ => matches!(statuses[..], [413] | []),
                };
                run.expect(&format!("each is refused, not {statuses:?}"), good);
            }
            let told = statuses
                .iter()
                .filter(|statuses| statuses[..] == [413])
                .count();
            if round == 0 {
                run.figure(format!("{told} of 32 saw the 413"));
            }
        })
        .await;
    }
    run.more(200).await;
    let more = run.peak().rss_bytes.saturating_sub(before);
    run.figure(format!("at most {} MiB more", more >> 20));
    run.expect(
        "memory stays within what bodies may take",
        more < MEMORY + (48 << 20),
    );
    run.judge().await
}

/// Sends a body without an end; the statuses of what was answered.
async fn oversized(run: &Run, how: usize, size: usize) -> Vec<u16> {
    let mut client = Client::connect(run.entrance()).await.unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n");
    let head = match how {
        0 => format!("{head}content-length: {size}\r\n\r\n"),
        // Less than what comes: the rest is another request, and a bad one.
        1 => format!("{head}content-length: 100000\r\n\r\n"),
        _ => format!("{head}transfer-encoding: chunked\r\n\r\n"),
    };
    let piece = vec![b'x'; 100_000];
    let mut open = client.write(head.as_bytes()).await.is_ok();
    let mut sent = 0;
    while open && sent < size {
        if how == 2 {
            open = client
                .write(format!("{:x}\r\n", piece.len()).as_bytes())
                .await
                .is_ok();
        }
        open = open && client.write(&piece).await.is_ok();
        if how == 2 {
            open = open && client.write(b"\r\n").await.is_ok();
        }
        sent += piece.len();
    }
    let came = client.until_closed(Duration::from_secs(10)).await;
    let came = String::from_utf8_lossy(&came.expect("it is closed")).into_owned();
    let answers = came.split("HTTP/1.1 ").skip(1);
    answers
        .filter_map(|answer| answer[..3].parse().ok())
        .collect()
}
