#![allow(clippy::unwrap_used)]
use super::*;
use secrecy::ExposeSecret;
use serde_json::json;

fn jwt(claims: &serde_json::Value) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.sig", part("{}"), part(&claims.to_string()))
}

fn answered(status: u16, body: &serde_json::Value) -> Result<Token, Failed> {
    read(&Answer {
        status,
        told: crate::budget::Told::default(),
        body: body.to_string().into(),
    })
}

#[test]
fn both_spellings_are_read_and_the_token_itself_says_whose_it_is() {
    let company = jwt(&json!({"authClass": "Company", "authClassId": "c1"}));
    let snake = json!({"access_token": company, "refresh_token": "r", "expires_in": 86399,
        "scope": "a b", "userType": "Location", "companyId": "c1"});
    let camel = json!({"accessToken": company, "refreshToken": "r", "expiresIn": "86399",
        "scope": "a b", "userType": "Location", "companyId": "c1"});
    for body in [snake, camel] {
        let token = answered(200, &body).unwrap();
        assert_eq!(
            token.account,
            Account::Company,
            "not what the answer says beside it"
        );
        assert_eq!(token.tenant(), Some("c1"));
        assert_eq!(token.life, Duration::from_secs(86_399));
        assert_eq!(token.refresh.unwrap().expose_secret(), "r");
        assert_eq!(token.scope, "a b");
    }
    let claims = json!({"authClass": "Location", "authClassId": "l1", "primaryAuthClassId": "c1"});
    let token = answered(201, &json!({"access_token": jwt(&claims)})).unwrap();
    assert_eq!(
        (token.tenant(), token.company_id.as_deref()),
        (Some("l1"), Some("c1"))
    );
    assert!(token.refresh.is_none());
    let opaque = json!({"access_token": "x", "userType": "Location", "locationId": "l1"});
    assert_eq!(answered(200, &opaque).unwrap().tenant(), Some("l1"));
}

#[test]
fn a_life_that_cannot_be_is_replaced_by_the_usual_one() {
    for life in [
        json!(0),
        json!(-5),
        json!(4_000_000_000_u64),
        json!(null),
        json!("soon"),
    ] {
        let body = json!({"access_token": "x", "userType": "Company", "companyId": "c1", "expires_in": life});
        let token = answered(200, &body).unwrap();
        assert_eq!(token.life, Duration::from_secs(DEFAULT_LIFE), "{life}");
    }
}

#[test]
fn a_token_of_another_tenant_than_the_answer_says_is_of_no_use() {
    let company = jwt(&json!({"authClass": "Company", "authClassId": "c1"}));
    let claims = json!({"authClass": "Location", "authClassId": "l1", "primaryAuthClassId": "c1"});
    let location = jwt(&claims);
    let rows = [
        (&company, json!({"companyId": "c1"}), true),
        (&company, json!({"companyId": "c2"}), false),
        (&company, json!({"companyId": ""}), true),
        // A company's token comes with the location that was chosen, too.
        (
            &company,
            json!({"companyId": "c1", "locationId": "l1"}),
            true,
        ),
        (
            &location,
            json!({"companyId": "c1", "locationId": "l1"}),
            true,
        ),
        (
            &location,
            json!({"companyId": "c1", "locationId": "l2"}),
            false,
        ),
        (
            &location,
            json!({"company_id": "c1", "location_id": "l2"}),
            false,
        ),
        (&location, json!({}), true),
    ];
    for (access, mut body, usable) in rows {
        body["access_token"] = json!(access);
        match answered(200, &body) {
            Ok(_) => assert!(usable, "{body}"),
            Err(error) => assert!(!usable && error.is_unknown(), "{body}: {error}"),
        }
    }
}

#[test]
fn a_grant_is_refused_for_good_by_its_code_and_by_words_that_are_about_it() {
    let described = |code: &str, text: &str| json!({"error": code, "error_description": text});
    // RFC 6749, 5.2, in its own words.
    let rfc = "The provided authorization grant or refresh token is invalid, expired, revoked, does not match \
               the redirection URI used in the authorization request, or was issued to another client.";
    let rows = [
        (400, described("invalid_grant", rfc), true),
        (
            401,
            described("invalid_grant", "Refresh token of client version 2"),
            true,
        ),
        (400, described("invalid_grant", ""), true),
        (400, json!({"error": "invalid_grant"}), true),
        (
            401,
            described("UnAuthorized!", "This refresh token is invalid"),
            true,
        ),
        (
            400,
            json!({"statusCode": 400, "message": "it was issued to another client"}),
            true,
        ),
        (
            401,
            described("UnAuthorized!", "Invalid client credentials!"),
            false,
        ),
        (401, described("invalid_client", "Unknown"), false),
        (
            400,
            described("invalid_request", "refresh_token is missing"),
            false,
        ),
        (400, described("unauthorized_client", ""), false),
        (400, described("unsupported_grant_type", ""), false),
        (
            401,
            json!({"statusCode": 401, "message": "version header is invalid"}),
            false,
        ),
        (
            400,
            json!({"message": "This API is not available in API version v3"}),
            false,
        ),
        (
            400,
            json!({"message": "API endpoint has been removed"}),
            false,
        ),
        (
            401,
            json!({"message": "This route is not yet supported by the IAM Service."}),
            false,
        ),
        // A gateway's page, or nothing at all.
        (400, json!("Bad Request"), false),
        (401, json!({}), false),
        (403, json!({"message": "Forbidden"}), false),
        (
            422,
            json!({"message": ["refresh_token must be a string"]}),
            false,
        ),
        (429, described("invalid_grant", ""), false),
        (500, described("invalid_grant", ""), false),
    ];
    for (status, body, definite) in rows {
        let refused = answered(status, &body).unwrap_err();
        assert_eq!(refused.is_definite(), definite, "{status} {body}");
    }
}

#[test]
fn an_outage_is_the_hosts_and_not_what_it_refuses() {
    for (status, outage) in [
        (500, true),
        (503, true),
        (429, false),
        (400, false),
        (302, false),
    ] {
        let failed = answered(status, &json!({})).unwrap_err();
        assert_eq!(failed.is_outage(), outage, "{status}");
    }
}

#[test]
fn what_is_no_token_says_whether_something_may_be_spent() {
    let refused = answered(400, &json!({"error": "invalid_grant"})).unwrap_err();
    assert!(matches!(refused, Failed::Refused { status: 400, .. }) && !refused.is_unknown());
    let refused = answered(401, &json!({"error": "UnAuthorized!"})).unwrap_err();
    assert!(matches!(refused, Failed::Refused { status: 401, .. }));
    for status in [429, 500, 503] {
        let later = answered(status, &json!({})).unwrap_err();
        assert!(matches!(later, Failed::Later { .. }), "{status}");
    }
    for body in [
        json!([]),
        json!({}),
        json!({"access_token": ""}),
        json!({"access_token": "x"}),
        json!({"access_token": "x", "userType": "Company"}),
        json!({"access_token": "x", "userType": "Company", "companyId": "two words"}),
    ] {
        assert!(answered(200, &body).unwrap_err().is_unknown(), "{body}");
    }
}
