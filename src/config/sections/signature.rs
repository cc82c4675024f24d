//! `[signature]`: by which keys a webhook is GHL's.

use super::Section;
use crate::signature::{GHL_ED25519_KEY, GHL_RSA_KEY, PublicKey, RsaPublicKey, Verifier};
use crate::telemetry;

pub(in crate::config) fn signature(
    root: &mut Section,
    warnings: &mut Vec<String>,
) -> Option<Verifier> {
    let mut s = root.section("signature");
    let mut keys = Vec::new();
    let configured = s.texts("ed25519_keys");
    let mut usable = true;
    for (text, place) in &configured {
        match text.parse::<PublicKey>() {
            Ok(key) => keys.push(key),
            Err(error) => {
                usable = false;
                s.problem("ed25519_keys", place, telemetry::Chain(&error).to_string());
            }
        }
    }
    if configured.is_empty() {
        match GHL_ED25519_KEY.parse::<PublicKey>() {
            Ok(key) => keys.push(key),
            Err(error) => s.problem("ed25519_keys", "default", error.to_string()),
        }
    }
    let legacy = s.flag("legacy_rsa");
    let legacy_key = match legacy {
        Some(true) => {
            warnings.push(
                "signature.legacy_rsa is on: X-WH-Signature, which GHL no longer sends, is accepted where \
                 X-GHL-Signature is absent"
                    .to_owned(),
            );
            match GHL_RSA_KEY.parse::<RsaPublicKey>() {
                Ok(key) => Some(key),
                Err(error) => {
                    s.problem("legacy_rsa", "default", error.to_string());
                    None
                }
            }
        }
        _ => None,
    };
    root.finish(s);
    if !usable {
        return None;
    }
    Verifier::new(keys, legacy_key).ok()
}
