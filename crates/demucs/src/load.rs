use std::fs;
use std::path::Path;

use models::Config;
use safetensors::SafeTensors;
use serde::de::DeserializeOwned;

use crate::net::{Net, Weights};
use crate::{Demucs, Device, LoadError, Voice};

impl Demucs {
    /// Loads a model file in the form that Demucs 4.1 publishes: safetensors, in whose metadata
    /// stand the class and the arguments of its constructor.
    pub fn load(path: &Path, device: Device) -> Result<Self, LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        let bytes = fs::read(path).map_err(read)?;
        let on = device;
        let device = on.open()?;

        let config = config(&bytes)?;
        let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let mut weights = Weights::read(&file, device)?;
        let net = Net::new(&mut weights.root(), &config, device);
        weights.finish().map_err(LoadError::Weights)?;
        let voice = Voice { net, fit: config.fit(), say: vec![1.0; config.sources().len()] };
        Ok(Self {
            sources: config.sources().to_vec(),
            segment_frames: config.segment(),
            longest_segment: config.longest_segment(),
            on,
            device,
            nets: vec![voice],
        })
    }
}

/// The options of the model in a file.
fn config(file: &[u8]) -> Result<Config, LoadError> {
    let (_, header) = SafeTensors::read_metadata(file).map_err(damaged)?;
    let metadata = header.metadata().as_ref();
    let entry = |name: &str| {
        let entry = metadata.and_then(|metadata| metadata.get(name));
        entry.ok_or_else(|| LoadError::Format(format!("its metadata have no {name:?}")))
    };
    let klass = entry("klass")?;
    if entry("structure").is_ok() {
        return Err(LoadError::Architecture(format!("{klass} with quantized weights")));
    }
    let args = json(entry("args")?)?;
    let kwargs = json(entry("kwargs")?)?;
    Config::new(klass, args, kwargs).map_err(|error| match error {
        models::ConfigError::Class(class) => LoadError::Architecture(class),
        models::ConfigError::Options(refused) => LoadError::Options(refused),
    })
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, LoadError> {
    serde_json::from_str(text).map_err(damaged)
}

fn damaged(error: impl std::error::Error) -> LoadError {
    LoadError::Format(error.to_string())
}
