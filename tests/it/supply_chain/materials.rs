//! The bill of materials: what is in it, and that the same commit gives the same bytes.

use std::collections::BTreeMap;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bill {
    bom_format: String,
    spec_version: String,
    serial_number: String,
    components: Vec<Component>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Component {
    bom_ref: String,
    name: String,
    version: String,
    #[serde(default)]
    hashes: Vec<Value>,
    licenses: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    r#ref: String,
    depends_on: Vec<String>,
}

fn bill(time: &str) -> String {
    let output = Command::new("bash")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("deploy/supply-chain/sbom.sh")
        .env("SOURCE_DATE_EPOCH", time)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_bill_of_materials_has_what_is_linked_and_nothing_else() {
    let text = bill("1760000000");
    let bill: Bill = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&*bill.bom_format, &*bill.spec_version),
        ("CycloneDX", "1.5")
    );
    assert!(bill.serial_number.starts_with("urn:uuid:"));
    assert!(text.contains(r#""timestamp": "2025-10-09T08:53:20Z""#));

    let locked = super::locked();
    for component in &bill.components {
        let name = &component.name;
        assert!(!component.licenses.is_empty(), "{name} has no licence");
        if name == "sqlite" {
            continue;
        }
        let package = locked.iter().find(|package| {
            package.name == *name && package.version.to_string() == component.version
        });
        let package = package.unwrap_or_else(|| panic!("{name} is not in the lock file"));
        let hash = serde_json::json!({"alg": "SHA-256", "content": package.checksum});
        assert_eq!(component.hashes, [hash], "{name}");
    }
    let has = |name| {
        bill.components
            .iter()
            .any(|component| component.name == name)
    };
    for linked in ["ring", "lapin", "sqlx-postgres", "libsqlite3-sys", "sqlite"] {
        assert!(has(linked), "{linked} is missing");
    }
    for other in [
        "fail",
        "tempfile",
        "cc",
        "serde_derive",
        "syn",
        "sqlx-mysql",
    ] {
        assert!(!has(other), "{other} is not in the binary");
    }

    let edges: BTreeMap<_, _> = bill
        .dependencies
        .iter()
        .map(|dependency| (&*dependency.r#ref, &dependency.depends_on))
        .collect();
    assert_eq!(edges.len(), bill.components.len() + 1);
    for component in &bill.components {
        let used = edges
            .values()
            .any(|targets| targets.contains(&component.bom_ref));
        assert!(used, "nothing depends on {}", component.name);
    }
}

#[test]
fn the_bill_of_materials_is_the_same_again() {
    assert_eq!(bill("1760000000"), bill("1760000000"));
    assert_ne!(bill("1760000000"), bill("1760000001"));
}
