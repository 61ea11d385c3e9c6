//! Every stem checked, and the manifest.
//!
//! ```text
//! output objects ─► Contract ─► <hash>/<stem>.mp3 + Manifest
//! ```
//!
//! With the fact that this stage gives, the runtime makes the job visible as done.

use audio::{Contract, ContractError, Report, SAMPLE_RATE};
use separation::{AUDIO_SECONDS, Manifest, ManifestStem, Plan, Spec, StemFile};
use workflow::{Bucket, Fact, Failure, ObjectRef, Output, Stage, Task};

/// The stage `publish`.
pub struct Publish;

impl Stage for Publish {
    fn name(&self) -> &'static str {
        "publish"
    }

    fn unit(&self) -> Option<&'static str> {
        Some(AUDIO_SECONDS)
    }

    fn run(&self, task: &Task) -> Result<Output, Failure> {
        let spec: Spec = task.spec()?;
        let plan: Plan = task.fact("decode")?.data()?;
        let encoded = task.facts("encode")?;
        let mut stems = Vec::with_capacity(spec.stems.len());
        let mut gain = 1.0;
        for stem in &spec.stems {
            let fact = encoded.iter().find(|fact| fact.key == *stem).ok_or_else(|| {
                Failure::permanent("broken-contract", format!("the stem `{stem}` was not encoded"))
            })?;
            let file: StemFile = fact.data()?;
            gain = file.gain;
            stems.push(checked(task, &plan, fact, file)?);
            task.progress(stems.len() as f64 / spec.stems.len() as f64);
        }
        for stem in &stems {
            let name = Manifest::output_name(task.job(), &stem.file);
            task.link(Bucket::Output, &name, &stem.object)?;
        }
        let seconds = plan.seconds();
        let output = Output::of(&Manifest {
            frames: plan.frames,
            seconds,
            sample_rate: SAMPLE_RATE,
            model: spec.model.name,
            model_sha256: spec.model.sha256,
            gain,
            source: plan.source,
            tags: plan.tags,
            stems,
        })?;
        Ok(output.with_amount(seconds))
    }
}

/// A stem that keeps the contract.
fn checked(task: &Task, plan: &Plan, fact: &Fact, file: StemFile) -> Result<ManifestStem, Failure> {
    let StemFile { stem, file, media_type, .. } = file;
    let object = fact.object(&file)?.clone();
    let contract = Contract { frames: plan.frames as u64 };
    let report = check(task, contract, &object).map_err(|error| match error {
        ContractError::Io(_) => Failure::transient(error.to_string()),
        _ => {
            let message = format!("{file} breaks the audio contract: {error}; please report this");
            Failure::permanent("broken-contract", message)
        }
    })?;
    Ok(ManifestStem { stem, file, media_type, peak: report.peak, object, removed: false })
}

fn check(task: &Task, contract: Contract, object: &ObjectRef) -> Result<Report, ContractError> {
    contract.check(task.fetch(object).map_err(ContractError::Io)?)
}
