//! What one vendor adds to the kernel: its words, its rules, its addresses.

use axum::Router;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::kernel::App;
use super::{Answer, Call, CreateRequest, SimOptions, Webhook};
use crate::clock::Monotonic;

/// A moment in a call's course at which a vendor may send webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Queued,
    Ringing,
    /// Only where somebody (or a machine) picks up.
    Answered,
    Ended,
    /// A little after the end: what the vendor finds out by listening again.
    Analyzed,
}

/// A create request that the vendor refuses by its rules.
pub struct Refusal {
    /// For the journal: `invalid_request`, `not_json`.
    pub why: &'static str,
    pub answer: Response,
}

/// One simulated platform. Its value holds the vendor's quirks, as a test may want them.
///
/// Written apart from voxd's own adapter on purpose: the two check each other.
#[expect(clippy::result_large_err, reason = "an answer of a simulator, made once a request")]
pub trait Vendor: Send + Sync + Sized + 'static {
    /// As in job events: `bland_ai`.
    const NAME: &'static str;

    /// Whether this is a request for a call, be it well-formed, authorized, or not.
    fn is_create(&self, method: &Method, path: &str) -> bool;

    /// `Err`: the vendor's 401.
    fn authorize(&self, options: &SimOptions, headers: &HeaderMap) -> Result<(), Response>;

    /// The vendor's paths, with [`super::create()`] at the one for creating calls.
    fn routes(&self) -> Router<App<Self>>;

    /// Paths that want no key, which at the vendor's are elsewhere.
    fn open_routes(&self) -> Router<App<Self>> {
        Router::new()
    }

    /// For any path that the vendor does not have.
    fn not_found(&self) -> Response;

    /// Reads a create request and holds it against the vendor's rules. What is known of a bad request is noted by `seen`.
    fn read_create(
        &self,
        options: &SimOptions,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<CreateRequest, (CreateRequest, Refusal)>;

    /// A further call's id.
    fn new_id(&self) -> String;

    /// The vendor's words for an answer that is its own. `call` is the call that was made, where one was. `None`: this vendor
    /// has no such answer (the kernel itself plays those that any server can give: hanging, cutting off, a proxy's page).
    fn answer(&self, answer: Answer, call: Option<&Call>) -> Option<Response>;

    /// The call as the vendor shows it.
    fn record(&self, call: &Call, now: Monotonic) -> Value;

    /// What the vendor posts at this moment, not signed yet; `target` is the call's own address or the account's.
    fn webhooks(&self, call: &Call, moment: Moment, target: &str, now: Monotonic) -> Vec<Webhook>;

    /// A webhook that says that the call failed, as a forger would write it.
    fn lie(&self, call: &Call, target: &str, now: Monotonic) -> Webhook;

    fn sign(&self, options: &SimOptions, secret: &str, webhook: &mut Webhook);

    /// A voice configuration that this platform takes: the simplest that a producer can write.
    fn voice_config(&self) -> Value;

    /// Further settings that point voxd here, beside address, key and webhook secret.
    fn environment(&self, _options: &SimOptions) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Names of further settings that hold this simulator's own address.
    fn address_settings(&self) -> &'static [&'static str] {
        &[]
    }
}
