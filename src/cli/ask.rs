//! The HTTP client of commands, and the addresses that it is given.

use std::time::Duration;

use super::Failure;
use crate::tls;

/// A client that follows no redirect: what answers at an address is what is asked for.
pub(super) fn client(patience: Duration) -> Result<reqwest::Client, Failure> {
    tls::provide();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(patience)
        .build()
        .map_err(|error| Failure::new(Failure::SOFTWARE, error))
}

/// The address that paths are put behind, without a slash at its end.
pub(super) fn base_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).ok();
    let web = |url: &reqwest::Url| ["https", "http"].contains(&url.scheme()) && url.has_host();
    match url.is_some_and(|url| web(&url) && url.query().or(url.fragment()).is_none()) {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err(
            "it is no URL; write https:// and a host, such as https://hooks.example.com".to_owned(),
        ),
    }
}
