//! `hookwell follow-ups`: lists, shows, retries, ends and tries calls of the API.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Subcommand;
use serde_json::{Value, json};

use super::consent::consent;
use super::{ConfigArgs, Failure, Outcome, events, table};
use crate::app;
use crate::clock::rfc3339;
use crate::event::Recorded;
use crate::event::subscription::Subscription;
use crate::follow_up::rule::{self, Rule};
use crate::store::{Attempt, FollowUp, FollowUpFilter, Store, SubscriptionFilter, WhichCalls};

/// The API calls that events call for
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List calls, newest first
    #[command(after_help = "Examples:
  hookwell follow-ups list --config hookwell.toml --state dead
  hookwell follow-ups list --config hookwell.toml --rule contact-snapshot --json

States: pending (to be made, or being made), done, dead (parked for a person, with the reason), cancelled (by hand, or the app was uninstalled), merged (another call was made for several events of one record).")]
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// Only in this state
        #[arg(long, value_parser = ["pending", "done", "dead", "cancelled", "merged"])]
        state: Option<String>,
        /// Only of this rule
        #[arg(long, value_name = "NAME")]
        rule: Option<String>,
        /// Only of this location or company
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
        /// Print an object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one call with what the last answer said
    #[command(after_help = "Example:\n  hookwell follow-ups show 17 --config hookwell.toml")]
    Show {
        /// Its number
        id: i64,
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make parked calls again, with all their attempts
    #[command(after_help = "Examples:
  hookwell follow-ups retry 17 --config hookwell.toml
  hookwell follow-ups retry --rule contact-snapshot --config hookwell.toml
  hookwell follow-ups retry --all --config hookwell.toml

A call that is parked as outcome_unknown may have had its effect: look before it is made twice.")]
    Retry {
        /// Its number
        #[arg(required_unless_present_any = ["all", "rule"], conflicts_with_all = ["all", "rule"])]
        id: Option<i64>,
        /// Every parked one of a rule
        #[arg(long, value_name = "NAME", conflicts_with = "all")]
        rule: Option<String>,
        /// Every parked one
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Make no more of calls that wait or are parked, such as those of a backfill
    #[command(after_help = "Examples:
  hookwell follow-ups cancel 17 --config hookwell.toml
  hookwell follow-ups cancel --rule hookwell.backfill --yes --config hookwell.toml

A call that is being made in this moment is left to its end. What was made stays made.")]
    Cancel {
        /// Its number
        #[arg(required_unless_present_any = ["all", "rule"], conflicts_with_all = ["all", "rule"])]
        id: Option<i64>,
        /// Every one of a rule
        #[arg(long, value_name = "NAME", conflicts_with = "all")]
        rule: Option<String>,
        /// Every one
        #[arg(long)]
        all: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Show the request that a rule would send for an event, without sending it
    #[command(after_help = "Examples:
  hookwell follow-ups try contact-snapshot --event 17 --config hookwell.toml
  hookwell follow-ups try contact-snapshot --event 3f0e6f5c-8a3e-4f4e-9a6e-0c1a0d3b2f11 --config hookwell.toml

Says too when the event does not call for the rule. Answers of lookups are not there: a request that needs them cannot be shown.")]
    Try {
        /// The rule's name
        rule: String,
        /// The event: its position or its key
        #[arg(long, value_name = "EVENT")]
        event: String,
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

const NAMES: [&str; 11] = [
    "id",
    "state",
    "rule",
    "position",
    "tenant",
    "entity_id",
    "attempt",
    "due_at",
    "status",
    "reason",
    "detail",
];

pub(super) async fn run(args: Args) -> Outcome {
    match args.command {
        Command::List {
            config,
            state,
            rule,
            tenant,
            limit,
            json,
        } => {
            let config = config.load()?;
            let store = app::open_store_beside(&config.store).await?;
            let filter = FollowUpFilter {
                state,
                rule,
                tenant,
                limit,
                ..FollowUpFilter::default()
            };
            let rows: Vec<_> = store.follow_ups(&filter).await?.iter().map(row).collect();
            Ok(table::print(json, &NAMES, &rows)?)
        }
        Command::Show { id, config, json } => {
            let config = config.load()?;
            let store = app::open_store_beside(&config.store).await?;
            let Some(found) = store.follow_up(id).await? else {
                return Err(absent(id));
            };
            let mut fields: Vec<_> = NAMES.into_iter().zip(row(&found)).collect();
            fields.push(("app_id", json!(found.app_id)));
            fields.push(("planned_at", json!(rfc3339(found.planned_at))));
            fields.push(("ended_at", json!(found.ended_at.map(rfc3339))));
            fields.push(("being_made", json!(found.claimed)));
            let attempts = store.attempts(id).await?;
            if json {
                let attempts: Vec<_> = attempts.iter().map(attempt).collect();
                fields.push(("attempts", json!(attempts)));
                return Ok(table::one(true, fields)?);
            }
            table::one(false, fields)?;
            if attempts.is_empty() {
                return Ok(());
            }
            writeln!(std::io::stdout(), "\nbefore that:")?;
            let rows: Vec<_> = attempts
                .iter()
                .map(|one| ATTEMPT.map(|name| attempt(one)[name].clone()).to_vec())
                .collect();
            Ok(table::print(false, &ATTEMPT, &rows)?)
        }
        Command::Retry {
            id,
            rule,
            all: _,
            config,
        } => {
            let config = config.load()?;
            let store = app::open_store_beside(&config.store).await?;
            let which = WhichCalls::of(id, rule);
            let count = super::operator(store).retry_follow_ups(&which).await?;
            match (count, id) {
                (0, Some(id)) => Err(absent(id)),
                (0, None) => Ok(writeln!(std::io::stdout(), "There is no parked call.")?),
                (count, _) => Ok(writeln!(
                    std::io::stdout(),
                    "{count} will be made again; `hookwell follow-ups list` shows what becomes of them."
                )?),
            }
        }
        Command::Cancel {
            id,
            rule,
            all: _,
            yes,
            config,
        } => {
            let config = config.load()?;
            let store = app::open_store_beside(&config.store).await?;
            let which = WhichCalls::of(id, rule);
            let whose = match &which {
                WhichCalls::One(id) => format!("call {id}"),
                WhichCalls::Rule(rule) => format!("every waiting and parked call of {rule}"),
                WhichCalls::All => "every waiting and parked call".to_owned(),
            };
            consent(yes || id.is_some(), &format!("Cancel {whose}?"))?;
            let count = super::operator(store).cancel_follow_ups(&which).await?;
            match (count, id) {
                (0, Some(id)) => Err(absent(id)),
                (count, _) => Ok(writeln!(std::io::stdout(), "{count} cancelled")?),
            }
        }
        Command::Try {
            rule,
            event,
            config,
            json,
        } => {
            let config = config.load()?;
            let rules = config.calls.as_ref().map(|calls| &calls.rules);
            let Some(rule) = rules.and_then(|rules| rules.find(&rule)) else {
                let known: Vec<_> = rules
                    .into_iter()
                    .flat_map(|rules| rules.all())
                    .map(|rule| rule.name.as_str())
                    .collect();
                let known = match known.is_empty() {
                    true => "there are none; write them as [[follow_ups]] in the configuration, see config/follow_ups.toml".to_owned(),
                    false => format!("there are: {}", known.join(", ")),
                };
                return Err(Failure::saying(
                    Failure::NO_INPUT,
                    format!("no rule is called {rule}; {known}"),
                ));
            };
            let store = app::open_store_beside(&config.store).await?;
            let base = config
                .calls
                .as_ref()
                .map(|calls| calls.client.api_base.as_str());
            rehearse(store.as_ref(), rule, base.unwrap_or_default(), &event, json).await
        }
    }
}

async fn rehearse(store: &dyn Store, rule: &Rule, base: &str, event: &str, json: bool) -> Outcome {
    let found = events::find(store, event).await?;
    let context = rule::context(&found, &BTreeMap::new());
    let takes = rule.takes(&found, &context);
    let location = found
        .event
        .tenant
        .location_id
        .as_deref()
        .unwrap_or_default();
    let known = store.installation(&found.event.app_id, location).await?;
    let known = known.and_then(|known| known.company_id);
    let owner = rule.token_owner(&found.event, known.as_deref());
    let Some(trigger) = rule.trigger() else {
        return show(rule, base, &found, takes, owner, None, json);
    };
    let filter = SubscriptionFilter {
        app_id: Some(found.event.app_id.clone()),
        location_id: Some(found.event.tenant.location_id.clone().unwrap_or_default()),
        trigger: Some(trigger.to_owned()),
        limit: 1_000,
    };
    let workflows = store.subscriptions(&filter).await?;
    if workflows.is_empty() {
        return Err(Failure::saying(
            Failure::NO_INPUT,
            format!(
                "no workflow of {} uses the trigger {trigger}; `hookwell triggers list` shows those that do",
                found.event.tenant.id().unwrap_or("nobody")
            ),
        ));
    }
    for workflow in workflows {
        show(
            rule,
            base,
            &found,
            takes,
            owner,
            Some(&workflow.subscription),
            json,
        )?;
    }
    Ok(())
}

const ATTEMPT: [&str; 4] = ["at", "status", "reason", "detail"];

fn attempt(one: &Attempt) -> Value {
    json!({"at": rfc3339(one.at), "status": one.status, "reason": one.reason, "detail": one.detail})
}

fn show(
    rule: &Rule,
    base: &str,
    found: &Recorded,
    takes: bool,
    owner: Option<&str>,
    workflow: Option<&Subscription>,
    json: bool,
) -> Outcome {
    let rendered = rule.render(found, BTreeMap::new(), workflow);
    let rendered = rendered.map_err(|error| {
        Failure::saying(Failure::PARTLY, format!("rule {}: {error}", rule.name))
    })?;
    // The address of a workflow is a whole one.
    let url = match workflow {
        None => format!("{base}{}", rendered.target),
        Some(_) => rendered.target,
    };
    let mut out = std::io::stdout().lock();
    if json {
        let shown = json!({
            "rule": rule.name, "calls_for_it": takes, "method": rendered.method.as_str(), "url": url,
            "version": rendered.version, "token_of": owner, "body": rendered.body,
        });
        return Ok(writeln!(out, "{}", table::line(&shown))?);
    }
    writeln!(
        out,
        "{} {}",
        rendered.method.as_str(),
        table::printable(&url)
    )?;
    writeln!(out, "Version: {}", rendered.version)?;
    writeln!(
        out,
        "Authorization: Bearer (the token of {})",
        table::printable(owner.unwrap_or("nobody"))
    )?;
    if let Some(body) = &rendered.body {
        writeln!(out, "\n{}", table::pretty(body))?;
    }
    if !takes {
        writeln!(
            out,
            "\nnote: a {} like this does not call for the rule: see its `on` and `when`",
            found.event.event_type
        )?;
    }
    Ok(())
}

fn row(one: &FollowUp) -> Vec<Value> {
    vec![
        json!(one.id),
        json!(one.state),
        json!(one.rule),
        json!(one.position.0),
        json!(one.tenant),
        json!(one.entity_id),
        json!(one.attempt),
        json!(rfc3339(one.due_at)),
        json!(one.status),
        json!(one.reason),
        json!(one.detail),
    ]
}

fn absent(id: i64) -> Failure {
    Failure::saying(
        Failure::NO_INPUT,
        format!("there is no such call {id}; see `hookwell follow-ups list`"),
    )
}
