//! `[admin]`: the console's listener and who may use it.

use super::{Section, address};
use crate::admin;
use crate::config::Admin;

pub(in crate::config) fn admin(root: &mut Section, warnings: &mut Vec<String>) -> Option<Admin> {
    let mut s = root.section("admin");
    let listen = s.read("listen", address);
    if let Some(path) = s.open_secret("token") {
        warnings.push(format!(
            "admin.token_file: {path} can be read by anybody, or changed by its group, and who has a token may use the console; \
             chmod 640 {path}, or 600 where its owner runs the daemon"
        ));
    }
    let mut tokens: Vec<admin::Token> = Vec::new();
    for (text, place) in s.secrets("token", true) {
        let (name, token) = text.split_once(':').unwrap_or(("admin", &text));
        match admin::Token::new(name.trim(), token.trim()) {
            Ok(token) if tokens.iter().any(|other| other.name() == token.name()) => {
                let message = format!("{} is there twice; a name has one token", token.name());
                s.problem("token_file", &place, message);
            }
            Ok(token) => tokens.push(token),
            Err(message) => s.problem("token_file", &place, message),
        }
    }
    if let Some(listen) = listen
        && !listen.ip().is_loopback()
        && !tokens.is_empty()
    {
        warnings.push(format!(
            "admin.listen is {listen}: the console is there without TLS, so keep it off the public network"
        ));
    }
    root.finish(s);
    Some(Admin {
        listen: listen?,
        tokens,
    })
}
