//! The table of GHL's event types: what each is called, where it is routed, which fields name its
//! tenant and its entity.
//!
//! Taken from GHL's published event pages and observed deliveries. The table helps and never
//! decides: a type that is not in it is stored and published all the same, under `other`. Nothing
//! here reads a body.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

/// The type given to a price body that says `one_time` or `recurring` where others name the event.
///
/// GHL's price pages put the kind of price into `type`, so such a body does not tell whether the
/// price was created, changed or deleted.
pub const PRICE: &str = "Price";

/// The type of what GHL posts to a conversation provider; its bodies carry the channel (`SMS`,
/// `Email`) in `type`.
pub const PROVIDER_MESSAGE: &str = "ConversationProviderOutboundMessage";

/// One event type.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The name that bodies carry in `type`.
    pub event_type: &'static str,
    /// First word of the routing key.
    pub family: &'static str,
    /// Second word of the routing key.
    pub action: &'static str,
    /// The field that names the tenant: `locationId`, `companyId`, `altId` (with `altType`), or
    /// `id` where the entity is the location itself.
    pub tenant_field: &'static str,
    /// The field that names the entity, with `.` between levels; empty where there is none.
    pub entity_field: &'static str,
    /// Other names for the same type, used by GHL's pages or its subscription settings.
    pub aliases: &'static [&'static str],
}

impl Kind {
    /// The routing key without its tenant: `contact.create`.
    pub fn subject(&self) -> String {
        format!("{}.{}", self.family, self.action)
    }

    /// Whether its bodies do not name it in `type`, so that it has to be posted to `<path>/<EventName>`.
    ///
    /// GHL's pages on these types show bodies without `type`, or with the kind of price in it.
    pub fn lacks_type(&self) -> bool {
        matches!(
            self.family,
            "invoice" | "product" | "price" | "association" | "relation" | "object" | "voice_ai"
        )
    }
}

/// Every known type, in the order of the published table.
pub fn all() -> &'static [Kind] {
    KINDS
}

/// The type of that exact name or alias. Case matters, as it does on the wire.
pub fn find(event_type: &str) -> Option<&'static Kind> {
    static INDEX: LazyLock<HashMap<&'static str, &'static Kind>> = LazyLock::new(|| {
        let named = KINDS.iter().map(|kind| (kind.event_type, kind));
        let aliased = KINDS
            .iter()
            .flat_map(|kind| kind.aliases.iter().map(move |alias| (*alias, kind)));
        named.chain(aliased).collect()
    });
    INDEX.get(event_type).copied()
}

/// The table in Markdown, for the documentation.
pub fn markdown_table() -> String {
    let mut table = String::from(
        "| Type | Also called | Routing key | Tenant field | Entity field |\n|---|---|---|---|---|\n",
    );
    let quoted = |text: &str| match text {
        "" => String::new(),
        text => format!("`{text}`"),
    };
    for kind in KINDS {
        let aliases: Vec<_> = kind.aliases.iter().map(|alias| quoted(alias)).collect();
        let _infallible = writeln!(
            table,
            "| `{}` | {} | `{}.<tenant>` | `{}` | {} |",
            kind.event_type,
            aliases.join(", "),
            kind.subject(),
            kind.tenant_field,
            quoted(kind.entity_field),
        );
    }
    table
}

const LOCATION: &str = "locationId";
const COMPANY: &str = "companyId";
/// Invoices name the location in `altId`, and say so in `altType`.
const ALT: &str = "altId";
/// The location is the entity.
const SELF: &str = "id";
/// Lifecycle events are about the installation, which is the app and the tenant.
const NO_ENTITY: &str = "";

const fn kind(
    event_type: &'static str,
    family: &'static str,
    action: &'static str,
    tenant_field: &'static str,
    entity_field: &'static str,
) -> Kind {
    Kind {
        event_type,
        family,
        action,
        tenant_field,
        entity_field,
        aliases: &[],
    }
}

impl Kind {
    const fn called(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }
}

#[rustfmt::skip]
const KINDS: &[Kind] = &[
    // The app itself.
    kind("INSTALL", "app", "install", LOCATION, NO_ENTITY).called(&["AppInstall"]),
    kind("UNINSTALL", "app", "uninstall", LOCATION, NO_ENTITY).called(&["AppUninstall"]),
    kind("UPDATE", "app", "update", LOCATION, NO_ENTITY).called(&["AppUpdate"]),
    kind("PLAN_CHANGE", "app", "plan_change", LOCATION, NO_ENTITY).called(&["PlanChange"]),
    kind("APP_PAYMENT_STATUS", "app", "payment_status", LOCATION, NO_ENTITY).called(&["AppPaymentStatus"]),
    kind("EXTERNAL_AUTH_CONNECTED", "app", "external_auth_connected", LOCATION, NO_ENTITY).called(&["ExternalAuthConnected"]),
    // Customer records.
    kind("ContactCreate", "contact", "create", LOCATION, "id"),
    kind("ContactUpdate", "contact", "update", LOCATION, "id"),
    kind("ContactDelete", "contact", "delete", LOCATION, "id"),
    kind("ContactTagUpdate", "contact", "tag_update", LOCATION, "id"),
    kind("ContactDndUpdate", "contact", "dnd_update", LOCATION, "id"),
    kind("NoteCreate", "note", "create", LOCATION, "id"),
    kind("NoteUpdate", "note", "update", LOCATION, "id"),
    kind("NoteDelete", "note", "delete", LOCATION, "id"),
    kind("TaskCreate", "task", "create", LOCATION, "id"),
    kind("TaskComplete", "task", "complete", LOCATION, "id"),
    kind("TaskDelete", "task", "delete", LOCATION, "id"),
    kind("OpportunityCreate", "opportunity", "create", LOCATION, "id"),
    kind("OpportunityUpdate", "opportunity", "update", LOCATION, "id"),
    kind("OpportunityDelete", "opportunity", "delete", LOCATION, "id"),
    kind("OpportunityStatusUpdate", "opportunity", "status_update", LOCATION, "id"),
    kind("OpportunityStageUpdate", "opportunity", "stage_update", LOCATION, "id"),
    kind("OpportunityMonetaryValueUpdate", "opportunity", "monetary_value_update", LOCATION, "id"),
    kind("OpportunityAssignedToUpdate", "opportunity", "assigned_to_update", LOCATION, "id"),
    kind("AppointmentCreate", "appointment", "create", LOCATION, "appointment.id"),
    kind("AppointmentUpdate", "appointment", "update", LOCATION, "appointment.id"),
    kind("AppointmentDelete", "appointment", "delete", LOCATION, "appointment.id"),
    kind("CampaignStatusUpdate", "campaign", "status_update", LOCATION, "id"),
    // Conversations.
    kind("InboundMessage", "message", "inbound", LOCATION, "messageId"),
    kind("OutboundMessage", "message", "outbound", LOCATION, "messageId"),
    kind("ConversationUnreadUpdate", "conversation", "unread_update", LOCATION, "id").called(&["ConversationUnreadWebhook"]),
    kind("ConversationUpdate", "conversation", "update", LOCATION, "newConversationId"),
    kind(PROVIDER_MESSAGE, "conversation", "provider_outbound_message", LOCATION, "messageId"),
    kind("LCEmailStats", "email", "stats", LOCATION, "webhookPayload.id"),
    // Accounts, support, voice.
    kind("LocationCreate", "location", "create", SELF, "id"),
    kind("LocationUpdate", "location", "update", SELF, "id"),
    kind("UserCreate", "user", "create", LOCATION, "id"),
    kind("UserUpdate", "user", "update", LOCATION, "id"),
    kind("UserDelete", "user", "delete", LOCATION, "id"),
    kind("SaasPlanCreate", "saas", "plan_create", COMPANY, "planId").called(&["SaaSPlanCreate"]),
    kind("SupportTicketCreate", "support", "ticket_create", COMPANY, "ticketId"),
    kind("SupportTicketUpdate", "support", "ticket_update", COMPANY, "ticketId"),
    kind("SupportTicketDelete", "support", "ticket_delete", COMPANY, "ticketId"),
    kind("VoiceAiCallEnd", "voice_ai", "call_end", LOCATION, "id"),
    // Commerce.
    kind("InvoiceCreate", "invoice", "create", ALT, "_id"),
    kind("InvoiceUpdate", "invoice", "update", ALT, "_id"),
    kind("InvoiceSent", "invoice", "sent", ALT, "_id"),
    kind("InvoicePaid", "invoice", "paid", ALT, "_id"),
    kind("InvoicePartiallyPaid", "invoice", "partially_paid", ALT, "_id"),
    kind("InvoiceVoid", "invoice", "void", ALT, "_id"),
    kind("InvoiceDelete", "invoice", "delete", ALT, "_id"),
    kind("OrderCreate", "order", "create", LOCATION, "_id"),
    kind("OrderStatusUpdate", "order", "status_update", LOCATION, "_id"),
    kind("ProductCreate", "product", "create", LOCATION, "_id"),
    kind("ProductUpdate", "product", "update", LOCATION, "_id"),
    kind("ProductDelete", "product", "delete", LOCATION, "_id"),
    kind("PriceCreate", "price", "create", LOCATION, "_id"),
    kind("PriceUpdate", "price", "update", LOCATION, "_id"),
    kind("PriceDelete", "price", "delete", LOCATION, "_id"),
    kind(PRICE, "price", "unspecified", LOCATION, "_id"),
    // Custom objects and what links them.
    kind("AssociationCreate", "association", "create", LOCATION, "id"),
    kind("AssociationUpdate", "association", "update", LOCATION, "id"),
    kind("AssociationDelete", "association", "delete", LOCATION, "id"),
    kind("RelationCreate", "relation", "create", LOCATION, "id"),
    kind("RelationDelete", "relation", "delete", LOCATION, "id"),
    kind("ObjectSchemaCreate", "object", "schema_create", LOCATION, "id"),
    kind("ObjectSchemaUpdate", "object", "schema_update", LOCATION, "id"),
    kind("RecordCreate", "record", "create", LOCATION, "id"),
    kind("RecordUpdate", "record", "update", LOCATION, "id"),
    kind("RecordDelete", "record", "delete", LOCATION, "id"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::routing::snake_case;
    use std::collections::HashSet;

    /// The types whose key is not "first word, rest in snake case".
    const EXCEPTIONS: &[(&str, &str)] = &[
        ("INSTALL", "app.install"),
        ("UNINSTALL", "app.uninstall"),
        ("UPDATE", "app.update"),
        ("PLAN_CHANGE", "app.plan_change"),
        ("APP_PAYMENT_STATUS", "app.payment_status"),
        ("EXTERNAL_AUTH_CONNECTED", "app.external_auth_connected"),
        ("InboundMessage", "message.inbound"),
        ("OutboundMessage", "message.outbound"),
        ("LCEmailStats", "email.stats"),
        ("VoiceAiCallEnd", "voice_ai.call_end"),
        ("Price", "price.unspecified"),
    ];

    #[test]
    fn every_type_and_alias_is_found_and_none_is_listed_twice() {
        let mut seen = HashSet::new();
        for kind in all() {
            for name in kind.aliases.iter().chain([&kind.event_type]) {
                assert!(seen.insert(*name), "{name} is listed twice");
                assert_eq!(find(name), Some(kind), "{name}");
            }
        }
        assert_eq!(all().len(), 70);
        assert_eq!(find("installed"), None);
        assert_eq!(find("contactcreate"), None, "case matters");
        assert_eq!(find(""), None);
    }

    #[test]
    fn keys_follow_the_rule_or_are_a_listed_exception() {
        let mut subjects = HashSet::new();
        for kind in all() {
            let subject = kind.subject();
            let by_rule = snake_case(kind.event_type).replacen('_', ".", 1);
            let exception = EXCEPTIONS.iter().find(|(name, _)| *name == kind.event_type);
            let expected = exception.map_or(by_rule.as_str(), |(_, subject)| subject);
            assert_eq!(subject, expected);
            let plain = |b: u8| b.is_ascii_lowercase() || b == b'_';
            assert!(kind.family.bytes().all(plain) && !kind.family.is_empty());
            assert!(kind.action.bytes().all(plain) && !kind.action.is_empty());
            assert!(subjects.insert(subject), "two types share a key");
        }
    }

    #[test]
    fn the_table_has_one_line_for_each_type() {
        let table = markdown_table();
        assert_eq!(table.lines().count(), all().len() + 2);
        assert!(table.lines().all(|line| line.matches('|').count() == 6));
        assert!(
            table.contains(
                "| `INSTALL` | `AppInstall` | `app.install.<tenant>` | `locationId` |  |\n"
            )
        );
        assert!(table.contains(
            "| `AppointmentCreate` |  | `appointment.create.<tenant>` | `locationId` | `appointment.id` |\n"
        ));
    }
}
