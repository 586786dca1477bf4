//! Which gateway: the only place that names a concrete one.

use crate::app::exit::{Exit, Failure};
use crate::gateway::Gateway;
use crate::gateway::portone_v1::{self, Endpoint, PortOne};
use crate::settings::Settings;

/// The merchant account behind the settings' key, by a name that tells nothing of the key.
pub(super) fn account(settings: &Settings) -> Option<String> {
    let key = settings.gateway.imp_key.as_ref();
    key.map(portone_v1::account)
}

/// A client of the gateway of the settings; nothing is sent yet.
pub(super) fn connect(settings: &Settings) -> Result<impl Gateway + use<>, Failure> {
    let (imp_key, imp_secret) = settings.credentials()?;
    PortOne::new(Endpoint {
        base_url: settings.gateway.base_url.clone(),
        imp_key,
        imp_secret,
        timeout: settings.gateway.timeout,
        connect_timeout: settings.connect_timeout(),
        connections_max: settings.calls_max(),
        proxy: settings.gateway.proxy.clone(),
    })
    .map_err(|error| {
        let what = "the client of the gateway can't be made; if no certificate authorities are installed, install \
                    them (ca-certificates), or name a file of them in SSL_CERT_FILE";
        Failure::new(Exit::Settings, anyhow::Error::new(error).context(what))
    })
}
