use std::path::Path;

use models::{Config, Model, Package, Summary};

use crate::net::{Net, Weights};
use crate::{Demucs, Device, LoadError, Mismatch, Precision, Voice};

impl Demucs {
    /// Loads a model: a network's file, a bag's, or a folder with one of them. See
    /// [`models::Model::find`] for one of several in a folder. It computes in the precision of the
    /// device.
    pub fn load(path: &Path, device: Device) -> Result<Self, LoadError> {
        Self::load_model(&Model::find(path, None)?, device, device.precision())
    }

    /// Loads all networks of a model. One that a bag has twice is loaded once.
    pub fn load_model(
        model: &Model,
        device: Device,
        precision: Precision,
    ) -> Result<Self, LoadError> {
        let on = device;
        let device = on.open()?;
        let (mut nets, mut configs) = (Vec::new(), Vec::new());
        for path in model.different_nets() {
            let package = Package::read(path)?;
            let config = package.config().map_err(LoadError::config(path))?;
            let net = net(package, &config, device, precision).map_err(LoadError::weights(path))?;
            let say = say(model, path, config.sources().len());
            nets.push(Voice { net, fit: config.fit(), say });
            configs.push(config);
        }
        let Summary { sources, segment_frames, .. } = model.agree(&configs)?;
        let longest = configs.iter().map(Config::longest_segment).min();
        let longest_segment = longest.expect("a model has at least one network");
        Ok(Self { sources, segment_frames, longest_segment, on, device, nets })
    }
}

fn net(
    package: Package,
    config: &Config,
    device: tch::Device,
    precision: Precision,
) -> Result<Net, Mismatch> {
    let mut weights = Weights::new(package.state, device, precision.kind());
    let net = Net::new(&mut weights.root(), config);
    weights.finish()?;
    Ok(net)
}

/// How much the network in `path` has to say about each source, of all there is to be said
/// (`demucs/apply.py: apply_model` with a bag).
fn say(model: &Model, path: &Path, sources: usize) -> Vec<f32> {
    let weight = |net: usize, source: usize| {
        let row = model.weights.as_ref().map(|weights| &weights[net]);
        // A row of another length is refused when all networks are there.
        row.map_or(1.0, |row| row.get(source).copied().unwrap_or(0.0))
    };
    let own = |net: &usize| model.nets[*net] == path;
    let all = 0..model.nets.len();
    let part = |source: usize| {
        let total: f64 = all.clone().map(|net| weight(net, source)).sum();
        let part: f64 = all.clone().filter(own).map(|net| weight(net, source)).sum();
        (part / total) as f32
    };
    (0..sources).map(part).collect()
}
