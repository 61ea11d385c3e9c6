mod install;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use models::hub::{Hub, HubSettings, Progress};
use models::published::{LICENCE, PUBLISHED, Repository};
use separation::Catalogue;

use super::Shelf;
use crate::bar::Bar;
use crate::error::Usage;
use crate::text;
use install::Card;

/// Fetches a model, from the Hugging Face hub or from a folder.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The model: one of those that `list` tells, or `someuser/htdemucs` for somebody else's
    name: String,
    /// A folder with NAME.yaml and its networks, or with the network NAME, instead of the hub
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    #[command(flatten)]
    shelf: Shelf,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let catalogue = args.shelf.read()?;
    let card = card(&args)?;
    refuse_built_in(&catalogue, &card.name)?;
    println!("{}: {}\n  licence: {}", card.name, card.about, card.licence);
    let files = match &args.from {
        Some(folder) => in_folder(folder, &args.name)?,
        None => from_hub(&args.name).await?,
    };
    let entry = install::install(args.shelf.path(), card, &files)?;

    let catalogue = args.shelf.read()?;
    let model = catalogue.find(&entry.name).context("the model that was just put there is gone")?;
    let (name, size) = (&model.name, text::bytes(super::bytes(&catalogue, model)));
    let place = args.shelf.path().join(name);
    println!("  {size} in {}: {}", place.display(), model.sources.join(", "));
    println!("  try: stemflow submit song.mp3 --model {name}");
    println!("  A stack that is running finds it when it is started again.");
    Ok(())
}

/// What the catalogue is to say of the model.
fn card(args: &Args) -> anyhow::Result<Card> {
    let name = &args.name;
    let no_name = || Usage(format!("`{name}` is not the name of a model: it is like `htdemucs`"));
    let repository = Repository::of(name).ok_or_else(no_name)?;
    let published = PUBLISHED.iter().find(|published| published.name == name);
    if let Some(published) = published {
        let (about, licence) = (published.about.to_owned(), LICENCE.to_owned());
        return Ok(Card { name: name.clone(), about, licence });
    }
    let Some(folder) = &args.from else {
        let about = format!("{} on the Hugging Face hub", repository.id);
        let licence = if repository.is_official() { LICENCE } else { "what its author says there" };
        return Ok(Card { name: name.replace('/', "-"), about, licence: licence.to_owned() });
    };
    if name.contains('/') {
        return Err(no_name().into());
    }
    let about = format!("Taken from {}", folder.display());
    Ok(Card { name: name.clone(), about, licence: "what its author says".to_owned() })
}

/// A built-in model has no folder of its own.
fn refuse_built_in(catalogue: &Catalogue, name: &str) -> anyhow::Result<()> {
    let is_built_in = |file: &separation::ModelFile| !file.file.contains('/');
    if catalogue.find(name).is_some_and(|model| model.files.iter().any(is_built_in)) {
        bail!("`{name}` is built in: there is nothing to pull");
    }
    Ok(())
}

fn in_folder(folder: &Path, name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let model = models::Model::find(folder, Some(name))?;
    Ok(model.files().into_iter().map(Path::to_owned).collect())
}

async fn from_hub(name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let hub = Hub::new(HubSettings::from_env())?;
    let mut bar: Option<(String, Bar)> = None;
    let mut show = |progress: Progress| {
        let Progress { file, bytes, of } = progress;
        if bar.as_ref().is_none_or(|(shown, _)| shown != file) {
            if let Some((_, done)) = bar.take() {
                done.end();
            }
            bar = Some((file.to_owned(), Bar::of_download(file, of)));
        }
        if let Some((_, bar)) = &bar {
            bar.set(bytes);
        }
    };
    let pulled = hub.pull(name, &mut show).await;
    if let Some((_, bar)) = bar {
        bar.end();
    }
    let pulled = pulled?;
    if let Some(why) = pulled.unasked {
        println!("  taken from the cache, as {why}");
    }
    Ok(pulled.files)
}
