//! The nemesis: pairs and triples of faults at once, of random kinds and lengths, under load all the time,
//! with a rest every few minutes in which everything has to come back. The judge is that of the rows.
//!
//! What strikes when follows from the seed and the store alone. How many rounds fit into the minutes
//! depends on the machine; the rounds are the same.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::lab::{Lab, Outcome, Run};

mod blow;

use blow::{Strike, strikes};

/// Events a second: what a slow machine catches up with between two rounds.
const RATE: f64 = 120.0;
/// Of a hundred requests, so many of each class of bad ones.
const BAD: f64 = 1.0;
/// Rounds between two rests.
const ROUNDS: u64 = 6;
const BREATH: Duration = Duration::from_secs(2);

/// What is disturbed at the moment.
struct Nemesis {
    run: Run,
    /// Heals that take their time, with what they heal.
    healing: JoinSet<Healed>,
}

struct Healed {
    strike: Strike,
    from: u64,
}

/// Lets faults overlap for so long, then judges.
pub async fn nemesis(lab: Lab, minutes: f64) -> Outcome {
    println!(
        "nemesis {} seed {}: the seed repeats the rounds",
        lab.store, lab.seed
    );
    let setup = lab.setup().own_broker().own_postgres().behind_a_proxy();
    let setup = setup.load(|load| {
        load.rate = RATE;
        *load = load.clone().with_bad(BAD);
    });
    let setup = setup.daemon(|config| {
        // Deadlines that fit into a round.
        let broker = "heartbeat = \"2s\"\nconfirm_deadline = \"3s\"\nconnect_timeout = \"3s\"\nretry_max = \"1s\"";
        let store = "statement_timeout = \"2s\"\nconnect_timeout = \"3s\"";
        config
            .set("broker", broker)
            .set("store", store)
            .set("http", "commit_deadline = \"3s\"")
            .set("shutdown", "grace = \"5s\"")
    });
    let mut run = setup.start().await;
    // A quorum queue needs a moment after its birth, see F-01.
    run.arrived(800).await;
    run.measure_before().await;
    let mut nemesis = Nemesis {
        run,
        healing: JoinSet::new(),
    };
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        let chance = lab.random().fork(number);
        nemesis.round(number, strikes(chance, lab.store)).await;
        if number == 1 {
            // Catching up with a first backlog takes memory that is kept for the next one.
            nemesis.run.rest().await;
            nemesis.run.measure_before().await;
            nemesis.run.load().set_rate(RATE);
        }
        if number.is_multiple_of(ROUNDS) {
            nemesis.run.look_after_crash().await;
            let said = nemesis.run.rest().await;
            nemesis.say(&format!("rest: {said}"));
            nemesis.run.load().set_rate(RATE);
        }
    }
    println!("{number} rounds");
    nemesis.run.judge().await
}

impl Nemesis {
    fn say(&self, what: &str) {
        println!("{:9.3} s  {what}", self.run.micros() as f64 / 1e6);
    }

    /// Everything of a round begins, overlaps, and ends.
    async fn round(&mut self, number: u64, strikes: Vec<Strike>) {
        self.say(&format!("round {number}"));
        let began = Instant::now();
        let mut moments: Vec<(Duration, bool, Strike)> = Vec::new();
        for strike in strikes {
            moments.push((strike.after, true, strike));
            moments.push((strike.after + strike.lasts, false, strike));
        }
        moments.sort_by_key(|(at, ..)| *at);
        let mut under_way = Vec::new();
        for (at, begins, strike) in moments {
            sleep_until(began + at).await;
            if begins {
                let from = self.run.micros();
                self.say(&format!("begin  {} ({:.1?})", strike.blow, strike.lasts));
                strike.blow.begin(&mut self.run).await;
                under_way.push(Healed { strike, from });
            } else if let Some(index) = under_way.iter().position(|one| one.strike == strike) {
                let one = under_way.remove(index);
                self.heal(one).await;
            }
            self.note_healed();
        }
        while let Some(healed) = self.healing.join_next().await {
            self.healed(&healed.unwrap());
        }
        // A supervisor starts what cannot start while the store is away.
        while !self.run.is_up() {
            self.run.try_start(true).await;
        }
        self.run.recovers().await;
        sleep(BREATH).await;
    }

    async fn heal(&mut self, one: Healed) {
        let healing = one.strike.blow.end(&mut self.run).await;
        match healing {
            Some(task) => drop(self.healing.spawn(async move {
                task.await;
                one
            })),
            None => self.healed(&one),
        }
    }

    fn note_healed(&mut self) {
        while let Some(healed) = self.healing.try_join_next() {
            self.healed(&healed.unwrap());
        }
    }

    fn healed(&mut self, one: &Healed) {
        let blow = one.strike.blow;
        self.say(&format!("healed {blow}"));
        self.run
            .note_fault(blow.kind(), &blow.to_string(), one.from);
    }
}
