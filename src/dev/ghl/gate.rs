//! The one way of a request: noted, counted, met by a fault, judged, answered.

use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::time::sleep;

use super::answer::Answer;
use super::control;
use super::errors::Problem;
use super::faults::Deed;
use super::journal::{Entry, Ticket};
use super::limits::Rate;
use super::routes::{self, Class, Endpoint};
use super::visit::{Call, Visit};
use super::{Ghl, State as All};
use crate::event::Micros;

/// Bytes of a request's body at most.
const BODY_BYTES: usize = 8 * 1024 * 1024;

/// What is decided when a request comes in.
struct Admission {
    ticket: Ticket,
    rate: Option<Rate>,
    deed: Option<Deed>,
    gives_tokens: bool,
}

/// Answers any request.
pub(super) async fn answer(State(ghl): State<Arc<Ghl>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let call = Call::new(head.method.as_str(), path, query, &head.headers, body);
    if call.segments().first() == Some(&"_dev") {
        return control::answer(&ghl, &call);
    }
    let admission = ghl.admit(&call);
    let (status, response) = ghl.pass(&call, &admission).await;
    ghl.close(&call, &admission, status.map(|status| status.as_u16()));
    response
}

impl Ghl {
    /// Notes a request, takes its budget and looks for a fault.
    fn admit(&self, call: &Call) -> Admission {
        let now = (self.clock)();
        let state = &mut *self.lock();
        let endpoint = Endpoint::find(&call.method, &call.segments());
        let tenant = state.tenant(call, endpoint, now);
        // GHL publishes no limit for tokens, and before there is one nobody is there to count for.
        let costs = endpoint.is_none_or(|endpoint| endpoint.needs().0 != Class::None);
        let rate = tenant
            .as_ref()
            .filter(|_| costs)
            .map(|tenant| state.limits.take(&self.settings, tenant, now));
        let gives_tokens = endpoint.is_some_and(Endpoint::gives_tokens);
        let picked = match rate {
            // What is over the limit does not get far enough to meet a fault.
            Some(rate) if rate.over => None,
            _ => state
                .faults
                .pick(&call.method, &call.path, tenant.as_deref(), gives_tokens),
        };
        let (deed, fault) = picked.unzip();
        let entry = Entry {
            arrived_us: now.0,
            answered_us: None,
            method: call.method.clone(),
            path: call.path.clone(),
            query: call.raw_query.clone(),
            tenant,
            status: None,
            fault,
        };
        Admission {
            ticket: state.journal.open(entry, self.settings.journal),
            rate,
            deed,
            gives_tokens,
        }
    }

    /// Answers it, with its fault before or behind.
    async fn pass(&self, call: &Call, admission: &Admission) -> (Option<StatusCode>, Response) {
        let deed = admission.deed.as_ref();
        if let Some(deed) = deed {
            wait(deed.wait_before()).await;
            if let Some(instead) = deed.instead() {
                return instead;
            }
        }
        let mut answer = match admission.rate {
            Some(rate) if rate.over => Problem::TooMany.answer(),
            _ => self.serve(call),
        };
        if let Some(rate) = &admission.rate {
            rate.tell(&mut answer);
        }
        answer.trace();
        let Some(deed) = deed else {
            return (Some(answer.status), answer.plain());
        };
        if admission.gives_tokens {
            deed.spoil_tokens(&mut answer);
        }
        wait(deed.wait_after()).await;
        deed.send(answer)
    }

    /// Has the endpoint answer.
    fn serve(&self, call: &Call) -> Answer {
        let now = (self.clock)();
        let mut visit = Visit {
            settings: &self.settings,
            state: &mut self.lock(),
            call,
            now,
            grant: None,
        };
        routes::answer(&mut visit).unwrap_or_else(Problem::answer)
    }

    /// Notes what was answered.
    fn close(&self, call: &Call, admission: &Admission, status: Option<u16>) {
        let now = (self.clock)();
        self.lock().journal.close(admission.ticket, now, status);
        let (method, path) = (&call.method, &call.path);
        match status {
            Some(status) => tracing::info!(status, "{method} {path}"),
            None => tracing::info!("{method} {path}: hung up"),
        }
    }
}

impl All {
    /// The account whose token a request carries, or whose token it asks for.
    fn tenant(&self, call: &Call, endpoint: Option<Endpoint<'_>>, now: Micros) -> Option<String> {
        if endpoint == Some(Endpoint::Token) {
            let fields = call.fields().ok()?;
            let field = |names: [&str; 2]| names.iter().find_map(|name| fields.get(*name));
            let of_code = || self.tokens.peek_code(field(["code", "code"])?, now);
            let of_refresh = || {
                let token = field(["refresh_token", "refreshToken"])?;
                self.tokens.peek_refresh(token)
            };
            let grant = of_code().or_else(of_refresh)?;
            return Some(grant.account.id().to_owned());
        }
        let grant = self.tokens.access(call.bearer()?, now)?;
        Some(grant.account.id().to_owned())
    }
}

async fn wait(length: Duration) {
    if !length.is_zero() {
        sleep(length).await;
    }
}
