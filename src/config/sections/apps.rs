//! `[[apps]]`: whose webhooks are taken, on which paths.

use std::collections::BTreeSet;

use super::{Section, ghl, own_path};
use crate::config::OauthApps;
use crate::event::is_plain_id;
use crate::ingest::App;

pub(in crate::config) fn apps(root: &mut Section) -> Option<(Vec<App>, OauthApps)> {
    let mut apps: Vec<App> = Vec::new();
    let mut oauth_apps = OauthApps::new();
    let mut complete = true;
    for mut a in root.sections("apps") {
        let place = a.place().to_owned();
        let id = a.read("id", |text| match is_plain_id(text) {
            true => Ok(text.to_owned()),
            false => Err(
                "must be the app's id: the part of its client id before the first \"-\"".to_owned(),
            ),
        });
        let path = a.read("path", |text| own_path(text, "/webhooks/ghl"));
        if let Some(oauth) = ghl::oauth_app(&mut a, id.as_deref()) {
            oauth_apps.extend(id.clone().map(|id| (id, oauth)));
        }
        match (id, path) {
            (Some(id), Some(path)) => {
                let app = App { id, path };
                let clash = apps
                    .iter()
                    .find(|other| other.owns(&app.path) || app.owns(&other.path));
                if apps.iter().any(|other| other.id == app.id) {
                    a.problem(
                        "id",
                        &place,
                        format!("{} is there twice; an app has one path", app.id),
                    );
                }
                if let Some(other) = clash {
                    let message = format!(
                        "{} collides with {} of app {}: what follows a path is an event name",
                        app.path, other.path, other.id
                    );
                    a.problem("path", &place, message);
                }
                apps.push(app);
            }
            (id, path) => {
                complete = false;
                for (key, missing) in [("id", id.is_none()), ("path", path.is_none())] {
                    if missing && !a.has_problem(key) {
                        a.problem(key, &place, "is missing");
                    }
                }
            }
        }
        root.finish(a);
    }
    check_paths(root, &apps, &oauth_apps);
    if apps.is_empty() && complete {
        let place = root.place().to_owned();
        root.problem(
            "apps",
            &place,
            "needs at least one app:\n      [[apps]]\n      id = \"<app id>\"\n      path = \"/webhooks/ghl\"",
        );
        return None;
    }
    complete.then_some((apps, oauth_apps))
}

/// No two of the public listener's paths are the same.
fn check_paths(root: &mut Section, apps: &[App], oauth_apps: &OauthApps) {
    let of_webhooks = |path: &str| apps.iter().any(|app| app.owns(path));
    let mut taken = BTreeSet::from(["/oauth/install"]);
    let callbacks = oauth_apps.values().map(|app| app.callback_path.as_str());
    let mut problems = Vec::new();
    for (id, oauth) in oauth_apps {
        let callback = oauth.callback_path.as_str();
        // Apps may share a callback: its state says whose it is.
        if of_webhooks(callback) || callback == "/oauth/install" {
            problems.push(format!(
                "the path of redirect_uri of app {id}, {callback}, is taken: by webhooks or /oauth/install"
            ));
        }
    }
    taken.extend(callbacks);
    for (id, oauth) in oauth_apps {
        let Some(triggers) = &oauth.triggers else {
            continue;
        };
        if of_webhooks(&triggers.path) || !taken.insert(&triggers.path) {
            problems.push(format!(
                "triggers_path of app {id}, {}, is taken: by webhooks, by /oauth/install, or by a path of an app",
                triggers.path
            ));
        }
    }
    let place = root.place().to_owned();
    for problem in problems {
        root.problem("apps", &place, problem);
    }
}
