//! Invoices, orders, products, prices, and custom objects with what links them.

use serde_json::{Value, json};

use super::{Person, SampleContext, colleague, hex_id, id};

pub(super) fn invoice(action: &str, context: &SampleContext) -> Value {
    let person = Person::of(context);
    let total = 100 + context.n % 900;
    let paid = match action {
        "paid" => total,
        "partially_paid" => total / 2,
        _ => 0,
    };
    json!({
        "_id": hex_id("invoice", context.n % 500),
        "altId": context.location_id,
        "altType": "location",
        "status": if matches!(action, "create" | "update") { "draft" } else { action },
        "name": "Repair",
        "invoiceNumber": format!("{}", 1_000 + context.n % 500),
        "currency": "USD",
        "total": total,
        "amountPaid": paid,
        "amountDue": total - paid,
        "contactDetails": { "id": person.id, "name": person.name(), "email": person.email },
        "invoiceItems": [{ "name": "Hours", "qty": 2, "amount": total / 2, "currency": "USD" }],
        "createdAt": context.timestamp_rfc3339,
        "updatedAt": context.timestamp_rfc3339,
    })
}

pub(super) fn order(context: &SampleContext) -> Value {
    let person = Person::of(context);
    let total = 20 + context.n % 300;
    json!({
        "_id": hex_id("order", context.n % 500),
        "locationId": context.location_id,
        "altId": context.location_id,
        "altType": "location",
        "contactId": person.id,
        "contactSnapshot": { "id": person.id, "firstName": person.first, "email": person.email },
        "status": "completed",
        "currency": "USD",
        "amount": total,
        "amountSummary": { "subtotal": total, "discount": 0 },
        "items": [{ "name": "Filter", "qty": 1, "product": { "_id": hex_id("product", 1) } }],
        "createdAt": context.timestamp_rfc3339,
    })
}

pub(super) fn product(context: &SampleContext) -> Value {
    json!({
        "_id": hex_id("product", context.n % 50),
        "locationId": context.location_id,
        "name": "Filter",
        "description": "Fits most taps.",
        "productType": "PHYSICAL",
        "availableInStore": true,
        "userId": colleague(context),
        "medias": [{ "id": id("media", 1), "type": "image", "url": "https://example.com/f.png" }],
        "createdAt": context.timestamp_rfc3339,
        "updatedAt": context.timestamp_rfc3339,
    })
}

pub(super) fn price(action: &str, context: &SampleContext) -> Value {
    // The kind of price is in `priceType` at first and in `type` ever after.
    let kind_field = if action == "create" {
        "priceType"
    } else {
        "type"
    };
    json!({
        "_id": hex_id("price", context.n % 50),
        "locationId": context.location_id,
        "product": hex_id("product", context.n % 50),
        "name": "Single",
        kind_field: "one_time",
        "currency": "USD",
        "amount": 5 + context.n % 95,
        "createdAt": context.timestamp_rfc3339,
    })
}

pub(super) fn association(context: &SampleContext) -> Value {
    json!({
        "id": hex_id("association", context.n % 10),
        "locationId": context.location_id,
        "associationType": "USER_DEFINED",
        "key": "owner_of_boiler",
        "firstObjectKey": "contact",
        "firstObjectLabel": "Owner",
        "secondObjectKey": "custom_objects.boilers",
        "secondObjectLabel": "Boiler",
    })
}

pub(super) fn relation(context: &SampleContext) -> Value {
    json!({
        "id": hex_id("relation", context.n % 500),
        "locationId": context.location_id,
        "associationId": hex_id("association", context.n % 10),
        "firstObjectKey": "contact",
        "firstRecordId": Person::of(context).id,
        "secondObjectKey": "custom_objects.boilers",
        "secondRecordId": hex_id("record", context.n % 500),
    })
}

pub(super) fn object_schema(context: &SampleContext) -> Value {
    json!({
        "id": hex_id("schema", context.n % 10),
        "locationId": context.location_id,
        "key": "custom_objects.boilers",
        "labels": { "singular": "Boiler", "plural": "Boilers" },
        "objectType": "USER_DEFINED",
        "createdAt": context.timestamp_rfc3339,
        "updatedAt": context.timestamp_rfc3339,
    })
}

pub(super) fn record(context: &SampleContext) -> Value {
    json!({
        "id": hex_id("record", context.n % 500),
        "locationId": context.location_id,
        "objectKey": "custom_objects.boilers",
        "owners": [colleague(context)],
        "followers": [],
        "properties": [{ "key": "maker", "valueString": "Example Works" }],
    })
}
