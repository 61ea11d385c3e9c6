use std::env;
use std::path::PathBuf;

const ENDPOINT: &str = "https://huggingface.co";

/// Which hub, and which cache.
#[derive(Clone)]
pub struct HubSettings {
    /// The address of the hub.
    pub endpoint: String,
    /// Who asks. It is told to the hub, and to nobody whom the hub refers to.
    pub token: Option<String>,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// Whether to take what the cache has, and ask nobody.
    pub offline: bool,
}

impl HubSettings {
    /// From the variables that `huggingface_hub` for Python reads: `HF_ENDPOINT`, `HF_TOKEN`,
    /// `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME` and `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        Self::read(&|name| env::var(name).ok())
    }

    fn read(var: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        let folder = |name: &str| set(name).map(PathBuf::from);
        let user_cache = || {
            let home = folder("HOME").or_else(env::home_dir).unwrap_or_default();
            folder("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"))
        };
        let home = || folder("HF_HOME").unwrap_or_else(|| user_cache().join("huggingface"));
        let is_yes = |value: String| {
            ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str())
        };
        Self {
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()),
            token: set("HF_TOKEN").map(|token| token.trim().to_owned()),
            cache: folder("HF_HUB_CACHE").unwrap_or_else(|| home().join("hub")),
            offline: set("HF_HUB_OFFLINE").is_some_and(is_yes),
        }
    }
}

impl std::fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { endpoint, cache, offline, token: _ } = self;
        write!(f, "HubSettings {{ {endpoint}, {}, offline: {offline} }}", cache.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> HubSettings {
        HubSettings::read(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_cache_is_where_python_has_it() {
        let cache = |variables: &[_]| read(variables).cache.display().to_string();
        assert_eq!(cache(&[("HOME", "/me")]), "/me/.cache/huggingface/hub");
        let xdg = ("XDG_CACHE_HOME", "/tmp/c");
        assert_eq!(cache(&[("HOME", "/me"), xdg]), "/tmp/c/huggingface/hub");
        assert_eq!(cache(&[xdg, ("HF_HOME", "/hf")]), "/hf/hub");
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/hub")]), "/hub");
    }

    #[test]
    fn what_is_empty_is_not_set() {
        let settings = read(&[("HF_TOKEN", ""), ("HF_ENDPOINT", ""), ("HF_HUB_OFFLINE", "0")]);
        assert_eq!((settings.token, settings.endpoint.as_str()), (None, ENDPOINT));
        assert!(!settings.offline);
        let settings = read(&[("HF_TOKEN", "secret"), ("HF_HUB_OFFLINE", "YES")]);
        assert!(settings.offline && !format!("{settings:?}").contains("secret"));
    }
}
