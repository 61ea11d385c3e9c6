//! The models that the author of Demucs has published, and where.

/// Who publishes them on the Hugging Face hub (`demucs/hf.py: DEFAULT_NAMESPACE`).
const NAMESPACE: &str = "adefossez";

/// Under what terms they may be used.
pub const LICENCE: &str =
    "for research use, by their author's word; MUSDB18-HQ is among the music they were trained on";

/// A published model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// What it is asked for by.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
}

/// All of them, the best to begin with first.
pub const PUBLISHED: [Published; 11] = [
    of("htdemucs", "Hybrid Transformer Demucs, the default of Demucs for Python"),
    of("htdemucs_ft", "htdemucs fine-tuned for each source: better, and four times the work"),
    of("htdemucs_6s", "htdemucs with guitar and piano as sources; piano is poor"),
    of("hdemucs_mmi", "Hybrid Demucs, trained on MUSDB18-HQ and 800 songs more"),
    of("mdx", "a bag of four, trained on MUSDB18-HQ alone; won track A of the MDX challenge"),
    of("mdx_extra", "a bag of four, trained on more songs; second in track B of the challenge"),
    of("mdx_q", "mdx in a smaller download, a little worse"),
    of("mdx_extra_q", "mdx_extra in a smaller download, a little worse"),
    of("repro_mdx_a", "a bag of four, track A of the challenge trained again"),
    of("repro_mdx_a_time_only", "the networks of repro_mdx_a over the waveform alone"),
    of("repro_mdx_a_hybrid_only", "the hybrid networks of repro_mdx_a"),
];

const fn of(name: &'static str, about: &'static str) -> Published {
    Published { name, about }
}

/// A model's place on the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Whose repository, and its name: `adefossez/HTDemucs`.
    pub id: String,
    /// The model's name in it: what its bag is called by.
    pub model: String,
}

impl Repository {
    /// The place of the model of that name, published or not (`demucs/hf.py: hf_repo_name`). A
    /// name is `name`, or `namespace/name` for those of somebody else; `None` if it is neither.
    pub fn of(name: &str) -> Option<Self> {
        let (namespace, model) = name.split_once('/').unwrap_or((NAMESPACE, name));
        if !is_plain(namespace) || !is_plain(model) {
            return None;
        }
        let repository = match model.strip_prefix("htdemucs") {
            Some("") => "HTDemucs".to_owned(),
            Some(rest) if rest.starts_with('_') => format!("HTDemucs-{}", &rest[1..]),
            _ => format!("Demucs-{model}"),
        };
        Some(Self { id: format!("{namespace}/{repository}"), model: model.to_owned() })
    }

    /// Whether the author of Demucs has published it.
    pub fn is_official(&self) -> bool {
        self.id.split_once('/').is_some_and(|(namespace, _)| namespace == NAMESPACE)
    }

    /// The file of its bag.
    pub fn bag(&self) -> String {
        format!("{}.yaml", self.model)
    }
}

/// Names become parts of paths and of addresses.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    name.chars().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_called_as_the_reference_calls_them() {
        for (name, id) in [
            ("htdemucs", "adefossez/HTDemucs"),
            ("htdemucs_ft", "adefossez/HTDemucs-ft"),
            ("htdemucs_6s", "adefossez/HTDemucs-6s"),
            ("hdemucs_mmi", "adefossez/Demucs-hdemucs_mmi"),
            ("mdx_extra_q", "adefossez/Demucs-mdx_extra_q"),
            ("someuser/htdemucs_ft", "someuser/HTDemucs-ft"),
        ] {
            let repository = Repository::of(name).unwrap();
            assert_eq!(repository.id, id);
            assert_eq!(repository.is_official(), !name.contains('/'));
        }
        assert_eq!(Repository::of("someuser/htdemucs_ft").unwrap().bag(), "htdemucs_ft.yaml");
        for name in ["", "/", "a/", "/a", "a/b/c", "..", "a/..", "-a", "a b", "a?b"] {
            assert_eq!(Repository::of(name), None, "{name}");
        }
    }

    #[test]
    fn each_is_published_once() {
        for model in PUBLISHED {
            assert_eq!(PUBLISHED.iter().filter(|other| other.name == model.name).count(), 1);
            assert!(Repository::of(model.name).is_some() && !model.about.is_empty());
        }
    }
}
