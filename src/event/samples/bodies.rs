//! The fields of each event type, family by family, as GHL's event pages name them.

use serde_json::{Value, json};

use super::{Kind, PRICE, SampleContext, hex_id, id};

mod commerce;

/// The fields of a body of `kind` beside those that every delivery carries.
pub(super) fn fields(kind: &Kind, context: &SampleContext) -> Option<Value> {
    if kind.event_type == PRICE {
        return None;
    }
    let name = kind.event_type;
    Some(match kind.family {
        "app" => lifecycle(name, context),
        "contact" => contact(name, context),
        "note" => note(context),
        "task" => task(context),
        "opportunity" => opportunity(context),
        "appointment" => appointment(kind.action, context),
        "campaign" => campaign(context),
        "message" => message(kind.action, context),
        "conversation" => conversation(name, context),
        "email" => email_stats(context),
        "location" => location(context),
        "user" => user(context),
        "saas" => saas_plan(context),
        "support" => support_ticket(context),
        "voice_ai" => voice_call(context),
        "invoice" => commerce::invoice(kind.action, context),
        "order" => commerce::order(context),
        "product" => commerce::product(context),
        "price" => commerce::price(kind.action, context),
        "association" => commerce::association(context),
        "relation" => commerce::relation(context),
        "object" => commerce::object_schema(context),
        "record" => commerce::record(context),
        _ => return None,
    })
}

/// The person whom the context's number picks.
struct Person {
    id: String,
    first: &'static str,
    last: &'static str,
    email: String,
    phone: String,
}

impl Person {
    fn of(context: &SampleContext) -> Self {
        const FIRST: [&str; 12] = [
            "Ada", "Björn", "Chidi", "Dana", "Emeka", "Fatima", "Grace", "Hana", "Iván", "Jun",
            "Kaya", "Lena",
        ];
        const LAST: [&str; 11] = [
            "Abara", "Berg", "Castillo", "Dubois", "Eriksen", "Fischer", "Gupta", "Haddad", "Ito",
            "Jensen", "Kowalski",
        ];
        let n = context.n % 1_000;
        let pick = |names: &'static [&'static str]| names[(n as usize) % names.len()];
        Self {
            id: id("contact", n),
            first: pick(&FIRST),
            last: pick(&LAST),
            email: format!("contact{n}@example.com"),
            phone: phone(n),
        }
    }

    fn name(&self) -> String {
        format!("{} {}", self.first, self.last)
    }
}

/// A number that rings nowhere: 202-555-0100 to 0199 are kept for fiction.
fn phone(n: u64) -> String {
    format!("+1202555{:04}", 100 + n % 100)
}

fn colleague(context: &SampleContext) -> String {
    id("user", context.n % 7)
}

fn conversation_id(context: &SampleContext) -> String {
    id("conversation", context.n % 1_000)
}

fn lifecycle(name: &str, context: &SampleContext) -> Value {
    // Every tenth installation is an agency's own, which names no location.
    let whole_agency = context.n % 10 == 9;
    let mut fields = json!({ "userId": colleague(context) });
    match name {
        "INSTALL" => {
            fields["installType"] = json!(if whole_agency { "Company" } else { "Location" });
            fields["companyName"] = json!("Example Agency");
            fields["isWhitelabelCompany"] = json!(false);
            fields["whitelabelDetails"] = json!({});
            fields["trial"] = json!({});
            fields["planId"] = json!(hex_id("plan", 1));
        }
        // An uninstallation says whose, and no more.
        "UNINSTALL" => fields = json!({}),
        "UPDATE" => {
            fields["previousVersionId"] = json!(hex_id("version", 1));
            fields["companyName"] = json!("Example Agency");
            fields["planId"] = json!(hex_id("plan", 1));
        }
        "PLAN_CHANGE" => {
            fields["currentPlanId"] = json!(hex_id("plan", 1));
            fields["newPlanId"] = json!(hex_id("plan", 2));
        }
        "APP_PAYMENT_STATUS" => {
            fields["previousStatus"] = json!("PENDING");
            fields["newStatus"] = json!("COMPLETE");
        }
        _ => fields["authType"] = json!("oauth2"),
    }
    if !whole_agency {
        fields["locationId"] = json!(context.location_id);
    }
    // An uninstallation names the location or the company, never both.
    if name != "UNINSTALL" || whole_agency {
        fields["companyId"] = json!(context.company_id);
    }
    fields
}

fn contact(name: &str, context: &SampleContext) -> Value {
    let person = Person::of(context);
    let mut fields = json!({
        "id": person.id,
        "locationId": context.location_id,
        "firstName": person.first,
        "lastName": person.last,
        "email": person.email,
        "phone": person.phone,
        "city": "Springfield",
        "country": "US",
        "source": "website form",
        "dateAdded": context.timestamp_rfc3339,
        "tags": ["newsletter", format!("batch-{}", context.n % 10)],
        "customFields": [
            { "id": id("field", 1), "value": "Tuesday mornings" },
            { "id": id("field", 2), "value": context.n % 90 },
        ],
        "attributionSource": { "medium": "form", "mediumId": id("form", context.n % 5) },
    });
    if name == "ContactDndUpdate" {
        let on = json!({ "status": "active", "message": "asked by phone", "code": "101" });
        fields["dnd"] = json!(true);
        fields["dndSettings"] = json!({ "SMS": on, "Call": on });
    }
    fields
}

fn note(context: &SampleContext) -> Value {
    json!({
        "id": id("note", context.n % 500),
        "locationId": context.location_id,
        "contactId": Person::of(context).id,
        "body": format!("Spoke on the phone, call no. {}.", context.n),
        "dateAdded": context.timestamp_rfc3339,
    })
}

fn task(context: &SampleContext) -> Value {
    json!({
        "id": id("task", context.n % 500),
        "locationId": context.location_id,
        "contactId": Person::of(context).id,
        "assignedTo": colleague(context),
        "title": "Call back",
        "body": format!("About offer {}.", context.n),
        "dateAdded": context.timestamp_rfc3339,
        "dueDate": context.timestamp_rfc3339,
    })
}

fn opportunity(context: &SampleContext) -> Value {
    let person = Person::of(context);
    let n = context.n;
    let status = ["open", "won", "lost", "abandoned"][(n % 4) as usize];
    json!({
        "id": id("opportunity", n % 500),
        "locationId": context.location_id,
        "contactId": person.id,
        "assignedTo": (n % 3 < 2).then(|| colleague(context)),
        "monetaryValue": 100 + n % 5_000,
        "name": format!("{}: kitchen", person.name()),
        "pipelineId": id("pipeline", 1),
        "pipelineStageId": id("stage", n % 6),
        "status": status,
        "dateAdded": context.timestamp_rfc3339,
    })
}

fn appointment(action: &str, context: &SampleContext) -> Value {
    json!({
        "locationId": context.location_id,
        "appointment": {
            "id": id("appointment", context.n % 500),
            "title": "Site visit",
            "address": "1 Example Street",
            "calendarId": id("calendar", context.n % 4),
            "contactId": Person::of(context).id,
            "appointmentStatus": if action == "delete" { "cancelled" } else { "confirmed" },
            "assignedUserId": colleague(context),
            "users": [colleague(context)],
            "source": "booking_widget",
            "startTime": context.timestamp_rfc3339,
            "endTime": context.timestamp_rfc3339,
            "dateAdded": context.timestamp_rfc3339,
            "dateUpdated": context.timestamp_rfc3339,
        },
    })
}

fn campaign(context: &SampleContext) -> Value {
    json!({
        "id": id("campaign", context.n % 20),
        "locationId": context.location_id,
        "contactId": Person::of(context).id,
        "templateId": id("template", context.n % 20),
        "status": "finished",
        "replied": "no",
        "dateAdded": context.timestamp_rfc3339,
    })
}

fn message(direction: &str, context: &SampleContext) -> Value {
    let person = Person::of(context);
    let mut fields = json!({
        "locationId": context.location_id,
        "contactId": person.id,
        "conversationId": conversation_id(context),
        "direction": direction,
        "dateAdded": context.timestamp_rfc3339,
        "attachments": [],
    });
    let one = id("message", context.n);
    match context.n % 3 {
        0 | 1 => {
            fields["messageId"] = json!(one);
            fields["messageType"] = json!("SMS");
            fields["messageTypeString"] = json!("TYPE_SMS");
            fields["contentType"] = json!("text/plain");
            fields["status"] = json!("delivered");
            fields["body"] = json!(format!(
                "Is Thursday at {} all right? 👍",
                context.n % 12 + 1
            ));
        }
        _ => {
            fields["emailMessageId"] = json!(one);
            fields["threadId"] = json!(one);
            fields["messageType"] = json!("Email");
            fields["subject"] = json!("Your visit");
            fields["from"] = json!(format!("{} <{}>", person.name(), person.email));
            fields["to"] = json!(["office@example.com"]);
            fields["body"] = json!("<p>See you on Thursday.</p>");
        }
    }
    if direction == "outbound" {
        fields["source"] = json!("app");
        fields["userId"] = json!(colleague(context));
    }
    fields
}

fn conversation(name: &str, context: &SampleContext) -> Value {
    let person = Person::of(context);
    match name {
        "ConversationUnreadUpdate" => json!({
            "id": conversation_id(context),
            "locationId": context.location_id,
            "contactId": person.id,
            "unreadCount": context.n % 5,
            "inbox": true,
            "starred": false,
            "deleted": false,
        }),
        "ConversationUpdate" => json!({
            "locationId": context.location_id,
            "companyId": context.company_id,
            "newConversationId": conversation_id(context),
            "oldConversationId": id("chat", context.n),
        }),
        // What goes to a conversation provider names the channel where others name the event.
        _ => json!({
            "type": "SMS",
            "locationId": context.location_id,
            "messageId": id("message", context.n),
            "contactId": person.id,
            "phone": person.phone,
            "message": "Your visit is confirmed.",
            "attachments": [],
            "userId": colleague(context),
        }),
    }
}

fn email_stats(context: &SampleContext) -> Value {
    json!({
        "locationId": context.location_id,
        "companyId": context.company_id,
        "webhookPayload": {
            "id": id("mail", context.n),
            "event": (["delivered", "opened", "clicked"][(context.n % 3) as usize]),
            // This one clock counts seconds since 1970.
            "timestamp": 1_767_225_600.25 + (context.n % 1_000_000) as f64,
            "recipient": Person::of(context).email,
            "log-level": "info",
            "flags": { "is-routed": false, "is-test-mode": false },
            "message": { "headers": { "subject": "Your visit" }, "size": 1_842 },
        },
    })
}

fn location(context: &SampleContext) -> Value {
    json!({
        "id": context.location_id,
        "companyId": context.company_id,
        "name": "Example Plumbing",
        "email": "office@example.com",
        "stripeProductId": id("stripe", 1),
    })
}

fn user(context: &SampleContext) -> Value {
    let n = context.n % 7;
    json!({
        "id": colleague(context),
        "locationId": context.location_id,
        "firstName": "Robin",
        "lastName": format!("Example{n}"),
        "email": format!("user{n}@example.com"),
        "phone": phone(n),
        "extension": "",
        "role": "user",
        "permissions": { "contactsEnabled": true, "invoiceEnabled": false },
    })
}

fn saas_plan(context: &SampleContext) -> Value {
    json!({
        "companyId": context.company_id,
        "planId": hex_id("saas", context.n % 10),
        "title": "Standard",
        "prices": [{
            "id": hex_id("saas price", context.n % 10),
            "billingInterval": "month",
            "active": true,
            "amount": 9_700,
            "currency": "USD",
            "symbol": "$",
        }],
    })
}

fn support_ticket(context: &SampleContext) -> Value {
    json!({
        "ticketId": id("ticket", context.n % 200),
        "companyId": context.company_id,
        "locationId": context.location_id,
        "subject": "Cannot see my calendar",
        "status": "open",
    })
}

fn voice_call(context: &SampleContext) -> Value {
    let person = Person::of(context);
    json!({
        "id": id("call", context.n),
        "messageId": id("message", context.n),
        "locationId": context.location_id,
        "agentId": id("agent", 1),
        "contactId": person.id,
        "fromNumber": person.phone,
        "createdAt": context.timestamp_rfc3339,
        "duration": 30 + context.n % 300,
        "summary": "The caller asked for a visit on Thursday.",
        "transcript": "bot: Hello.\nhuman: Can you come on Thursday?",
        "extractedData": {},
        "executedCallActions": [],
    })
}
