//! `google.cloud.location.Locations/GetLocation` with the metadata of Speech: languages, models, features. The messages
//! are written down here because no crate has them.
//!
//! Source: `google/cloud/location/locations.proto` and `google/cloud/speech/v2/locations_metadata.proto`.

use std::collections::HashMap;

use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

use super::models::MODELS;
use super::status::{invalid, status};

#[derive(Clone, PartialEq, Message)]
pub struct GetLocationRequest {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Location {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub location_id: String,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LocationsMetadata {
    #[prost(message, optional, tag = "1")]
    pub languages: Option<LanguageMetadata>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LanguageMetadata {
    /// By language.
    #[prost(map = "string, message", tag = "1")]
    pub models: HashMap<String, ModelMetadata>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ModelMetadata {
    /// By model.
    #[prost(map = "string, message", tag = "1")]
    pub model_features: HashMap<String, ModelFeatures>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ModelFeatures {
    #[prost(message, repeated, tag = "1")]
    pub model_feature: Vec<ModelFeature>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ModelFeature {
    #[prost(string, tag = "1")]
    pub feature: String,
    #[prost(string, tag = "2")]
    pub release_state: String,
}

pub(super) fn location(request: &GetLocationRequest) -> Result<Location, Status> {
    let parts: Vec<&str> = request.name.split('/').collect();
    let ["projects", project, "locations", location] = parts[..] else {
        return Err(invalid(format!("Invalid resource name: {:?}.", request.name)));
    };
    if project.is_empty() || !MODELS.iter().any(|model| model.locations.contains(&location)) {
        return Err(status(Code::NotFound, format!("Location {location:?} was not found.")));
    }
    let mut languages = LanguageMetadata::default();
    for model in MODELS.iter().filter(|model| model.locations.contains(&location)) {
        let known = |feature: &str| ModelFeature { feature: feature.to_owned(), release_state: "GA".into() };
        let features = ModelFeatures { model_feature: model.features().into_iter().map(known).collect() };
        for language in model.languages {
            let models = languages.models.entry((*language).to_owned()).or_default();
            models.model_features.insert(model.name.to_owned(), features.clone());
        }
    }
    let metadata = LocationsMetadata { languages: Some(languages) };
    let type_url = "type.googleapis.com/google.cloud.speech.v2.LocationsMetadata".to_owned();
    Ok(Location {
        name: request.name.clone(),
        location_id: location.to_owned(),
        metadata: Some(Any { type_url, value: metadata.encode_to_vec() }),
    })
}
