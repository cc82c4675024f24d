#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn a_fault_is_read_from_json_and_a_mistyped_one_is_not() {
    let read = |text: &str| serde_json::from_str::<Fault>(text);
    let fault = read(r#"{"path":"/oauth","count":1,"deed":{"hang_up":"after"}}"#).unwrap();
    let expected = Fault::new(Deed::HangUp(Moment::After))
        .path("/oauth")
        .times(1);
    assert_eq!(fault, expected);
    assert_eq!(
        read(r#"{"deed":"malformed"}"#).unwrap().deed,
        Deed::Malformed
    );
    for text in [
        r#"{"pth":"/oauth","deed":"malformed"}"#,
        r#"{"deed":"malformd"}"#,
        r#"{"deed":{"status":"503"}}"#,
        "{}",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn a_fault_is_for_some_requests_and_for_so_many() {
    let mut faults = Faults::default();
    let a = Account::Location("a".to_owned());
    faults.add(Fault::new(Deed::CamelCase));
    faults.add(
        Fault::new(Deed::Status(503))
            .path("/contacts")
            .tenant(&a)
            .times(1),
    );
    let mut pick = |path: &str, tenant| {
        let picked = faults.pick("GET", path, tenant, path.starts_with("/oauth"));
        picked.map(|(_, name)| name)
    };
    assert_eq!(pick("/contacts/1", Some("b")), None);
    assert_eq!(pick("/contacts/1", None), None);
    assert_eq!(pick("/opportunities/1", Some("a")), None);
    assert_eq!(pick("/contacts/1", Some("a")).as_deref(), Some("status"));
    assert_eq!(pick("/contacts/1", Some("a")), None);
    assert_eq!(pick("/oauth/token", None).as_deref(), Some("camel_case"));
    assert_eq!(pick("/oauth/token", None).as_deref(), Some("camel_case"));
}
