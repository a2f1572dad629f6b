//! Which application an event goes to: the first route that fits, else the default.

use super::envelope::same_kind;
use crate::config::{Route, Target};

/// Where events go.
#[derive(Debug)]
pub(super) struct Router {
    routes: Vec<Route>,
    default: Option<Target>,
}

impl Router {
    /// By these routes.
    pub(super) fn new(routes: Vec<Route>, default: Option<Target>) -> Self {
        Self { routes, default }
    }

    /// Where an event goes, by whose pair it showed, its type and the path it came on; `None` if
    /// nobody wants it.
    pub(super) fn route(
        &self,
        app: Option<&str>,
        kind: Option<&str>,
        path: &str,
    ) -> Option<&Target> {
        let fits = |route: &&Route| {
            route.app.as_deref().is_none_or(|wanted| app == Some(wanted))
                && route
                    .kind
                    .as_deref()
                    .is_none_or(|wanted| kind.is_some_and(|kind| same_kind(kind, wanted)))
                && route.path.as_ref().is_none_or(|pattern| pattern.matches(path))
        };
        self.routes.iter().find(fits).map(|route| &route.to).or(self.default.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Raw};

    #[test]
    fn the_first_route_that_fits_wins_and_the_default_takes_the_rest() {
        let mut raw = Raw::defaults();
        raw.file(
            b"webhook:\n  credentials: [{app: shop, current: /a}, {app: club, current: /b}]\n  \
              routes:\n  - {app: club, type: sms_status, to: 'http://a/'}\n  \
              - {type: whatsapp_template_status_update, to: 'http://b/'}\n  \
              - {path: /hooks/*, to: 'http://c/'}\n  - {app: club, to: 'http://d/'}\n  \
              default: http://e/\n",
        );
        let webhook = Config::from_raw(raw).unwrap().webhook.unwrap();
        let router = Router::new(webhook.routes.clone(), webhook.default);
        for (app, kind, path, host) in [
            (Some("club"), Some("sms_status"), "/hooks/x", "a"),
            (Some("club"), Some("whatsapp_template_status_updated"), "/", "b"),
            (Some("club"), Some("sms_uplink"), "/hooks/x", "c"),
            (Some("club"), None, "/", "d"),
            (Some("shop"), Some("sms_status"), "/", "e"),
            (None, None, "/hooks/", "e"),
        ] {
            assert_eq!(
                router.route(app, kind, path).unwrap().host,
                host,
                "{app:?} {kind:?} {path}"
            );
        }
        let router = Router::new(webhook.routes, None);
        assert!(router.route(Some("shop"), Some("sms_status"), "/").is_none());
    }
}
