//! TLS towards the exchange: ring, the machine's own certificates, verified always.

use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, OnceLock};

/// One configuration for all connections, so that sessions are resumed and certificates are read once.
pub(super) fn client_config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let mut roots = RootCertStore::empty();
            // A machine without certificates still speaks plain `ws://`; `wss://` then fails with its own reason.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("ring offers TLS 1.2 and 1.3");
            Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
        })
        .clone()
}
