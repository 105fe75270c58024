//! The methods and how a request comes to its own: credentials, quota, a place in the journal. The message types come from
//! client crates; the server side of gRPC is written out here, as generated code does it.

use std::future::Future;
use std::sync::Arc;

use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2::{
    RecognizeRequest, RecognizeResponse, StreamingRecognizeRequest, StreamingRecognizeResponse,
};
use googleapis_tonic_google_cloud_texttospeech_v1::google::cloud::texttospeech::v1::{
    ListVoicesRequest, SynthesizeSpeechRequest, SynthesizeSpeechResponse,
};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::core::{Core, Link};
use super::journal::{Entry, Method};
use super::locations::{self, GetLocationRequest};
use super::request::Endpoint;
use super::script::{What, When};
use super::status::status;
use super::{recognize, stream, synthesize, voices};

/// Requests hold up to 10 MB of sound.
const MOST_REQUEST_BYTES: usize = 32 * 1024 * 1024;
/// Responses that wait for a slow reader.
const WAITING: usize = 64;

type Stream<T> = futures_util::stream::BoxStream<'static, Result<T, Status>>;

/// What belongs to one call besides its messages.
struct Context {
    core: Arc<Core>,
    entry: Entry,
    link: Link,
    endpoint: Endpoint,
}

pub(super) async fn answer(request: Request<Incoming>, core: Arc<Core>, link: Link) -> Response<Body> {
    if let Err(status) = core.authorize(request.headers()) {
        return status.into_http();
    }
    let method = match request.uri().path() {
        "/google.cloud.speech.v2.Speech/StreamingRecognize" => Method::StreamingRecognize,
        "/google.cloud.speech.v2.Speech/Recognize" => Method::Recognize,
        "/google.cloud.texttospeech.v1.TextToSpeech/SynthesizeSpeech" => Method::SynthesizeSpeech,
        "/google.cloud.texttospeech.v1.TextToSpeech/StreamingSynthesize" => Method::StreamingSynthesize,
        "/google.cloud.texttospeech.v1.TextToSpeech/ListVoices" => Method::ListVoices,
        "/google.cloud.location.Locations/GetLocation" => Method::GetLocation,
        path => return status(Code::Unimplemented, format!("The simulator does not have {path}.")).into_http(),
    };
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let endpoint = Endpoint::of(authority, core.options.location.as_deref());
    let context = Context { entry: core.journal.open(method), core, link, endpoint };
    match method {
        Method::StreamingRecognize => both(request, |input| listen(context, input)).await,
        Method::StreamingSynthesize => both(request, |input| speak(context, input)).await,
        Method::Recognize => one(request, context, recognition).await,
        Method::SynthesizeSpeech => one(request, context, synthesis).await,
        Method::ListVoices => one(request, context, list_voices).await,
        Method::GetLocation => one(request, context, get_location).await,
    }
}

/// Serves a unary method.
async fn one<Req, Res, Fut>(
    request: Request<Incoming>,
    context: Context,
    serve: impl FnOnce(Arc<Context>, Req) -> Fut + Send,
) -> Response<Body>
where
    Req: prost::Message + Default + Send + Sync + 'static,
    Res: prost::Message + Send + Sync + 'static,
    Fut: Future<Output = Result<Res, Status>> + Send,
{
    let mut serve = Some(serve);
    let context = Arc::new(context);
    let handler = tower::service_fn(|request: tonic::Request<Req>| {
        let (context, serve) = (context.clone(), serve.take());
        let message = request.into_inner();
        let answer = serve.map(|serve| serve(context.clone(), message));
        async move {
            opened(&context).await?;
            let answer = answer.ok_or_else(|| Status::internal("asked twice"))?.await;
            context.entry.settle(answer).map(tonic::Response::new)
        }
    });
    let codec = ProstCodec::<Res, Req>::default();
    Grpc::new(codec).max_decoding_message_size(MOST_REQUEST_BYTES).unary(handler, request).await
}

/// Serves a method whose both sides stream.
async fn both<Req, Res, Fut>(
    request: Request<Incoming>,
    serve: impl FnOnce(Streaming<Req>) -> Fut + Send,
) -> Response<Body>
where
    Req: prost::Message + Default + Send + Sync + 'static,
    Res: prost::Message + Send + Sync + 'static,
    Fut: Future<Output = Result<Stream<Res>, Status>> + Send,
{
    let mut serve = Some(serve);
    let handler = tower::service_fn(|request: tonic::Request<Streaming<Req>>| {
        let answer = serve.take().map(|serve| serve(request.into_inner()));
        async move {
            let answer = answer.ok_or_else(|| Status::internal("asked twice"))?.await;
            answer.map(tonic::Response::new)
        }
    });
    let codec = ProstCodec::<Res, Req>::default();
    Grpc::new(codec).max_decoding_message_size(MOST_REQUEST_BYTES).streaming(handler, request).await
}

/// Lets happen what the script has for a unary call.
async fn opened(context: &Context) -> Result<(), Status> {
    let mut script = context.core.script(context.entry.method, context.entry.number);
    for what in script.due(|when| when == When::Open) {
        match what {
            What::Status(code, text) => return context.entry.settle(Err(status(code, text))),
            What::Reset => context.link.reset(),
            What::Disconnect => context.link.disconnect(),
            What::GoAway => context.link.go_away(),
            What::Stall => std::future::pending().await,
            What::SlowInterims(_) | What::WrongInterims | What::EmptyFinals => {}
        }
    }
    Ok(())
}

async fn listen(
    context: Context,
    input: Streaming<StreamingRecognizeRequest>,
) -> Result<Stream<StreamingRecognizeResponse>, Status> {
    let Context { core, entry, link, endpoint } = context;
    let place = entry.refused(core.hearing.stream(crate::clock::monotonic()))?;
    let (out, responses) = mpsc::channel(WAITING);
    let (headers, may_go) = oneshot::channel();
    let lifecycle = core.lifecycle.clone();
    let call = stream::Call { core, entry, link, endpoint, input, out, headers: Some(headers), _place: place };
    started(lifecycle, stream::serve(call), responses, may_go).await
}

async fn speak(
    context: Context,
    input: Streaming<super::speak::Request>,
) -> Result<Stream<super::speak::Response>, Status> {
    let Context { core, entry, link, .. } = context;
    let place = entry.refused(core.speaking.stream(crate::clock::monotonic()))?;
    let (out, responses) = mpsc::channel(WAITING);
    let (headers, may_go) = oneshot::channel();
    let lifecycle = core.lifecycle.clone();
    let call = super::speak::Call { core, entry, link, input, out, headers: Some(headers), _place: place };
    started(lifecycle, super::speak::serve(call), responses, may_go).await
}

/// Runs a stream's work; its responses, once its headers may go. A stream that fails before that has no headers of its own.
async fn started<T: Send + 'static>(
    lifecycle: crate::lifecycle::Lifecycle,
    work: impl Future<Output = ()> + Send + 'static,
    mut responses: mpsc::Receiver<Result<T, Status>>,
    may_go: oneshot::Receiver<()>,
) -> Result<Stream<T>, Status> {
    let hard = lifecycle.hard_token();
    lifecycle.spawn(async move { hard.run_until_cancelled(work).await });
    let first = if may_go.await.is_err() { responses.recv().await.transpose()? } else { None };
    let rest = futures_util::stream::unfold(responses, async |mut responses| {
        responses.recv().await.map(|response| (response, responses))
    });
    let first = futures_util::stream::iter(first.map(Ok));
    Ok(Box::pin(futures_util::StreamExt::chain(first, rest)))
}

async fn recognition(context: Arc<Context>, request: RecognizeRequest) -> Result<RecognizeResponse, Status> {
    context.core.hearing.request(crate::clock::monotonic())?;
    recognize::recognize(&context.core, &context.entry, &context.endpoint, request).await
}

async fn synthesis(
    context: Arc<Context>,
    request: SynthesizeSpeechRequest,
) -> Result<SynthesizeSpeechResponse, Status> {
    context.core.speaking.request(crate::clock::monotonic())?;
    synthesize::synthesize(&context.core, &context.entry, request).await
}

async fn list_voices(
    context: Arc<Context>,
    request: ListVoicesRequest,
) -> Result<googleapis_tonic_google_cloud_texttospeech_v1::google::cloud::texttospeech::v1::ListVoicesResponse, Status>
{
    context.core.speaking.request(crate::clock::monotonic())?;
    Ok(voices::list(&request.language_code))
}

async fn get_location(_: Arc<Context>, request: GetLocationRequest) -> Result<locations::Location, Status> {
    locations::location(&request)
}
