//! Where values come from: defaults, the file, the environment, flags; and which one wins.

use std::path::{Path, PathBuf};

use figment2::providers::{Format, Toml};
use figment2::value::{Dict, Map, Value};
use figment2::{Figment, Metadata, Profile, Provider};

use super::{Config, ConfigError, DEFAULT_FILE, KEYS, Key, Loaded, environment, keys};

/// A value that was given: from where, for which setting, and its text.
#[derive(Clone, Debug)]
pub struct Given {
    /// Such as `environment variable DERMALD_THREADS`.
    pub origin: String,
    /// The setting.
    pub key: &'static str,
    /// As it was given.
    pub value: String,
}

impl Provider for Given {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment2::Error> {
        let dict = Dict::from([(self.key.to_owned(), Value::from(self.value.clone()))]);
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

/// Lays file, environment and flags over the defaults.
///
/// `file` is the file that was named; without it, [`DEFAULT_FILE`] is read when it exists.
///
/// # Errors
///
/// The first [`ConfigError`].
pub fn load(file: Option<&Path>, flags: Vec<Given>) -> Result<Loaded, ConfigError> {
    let (layers, file) = layers(file, flags)?;
    let loaded = resolve(&layers, |_| true)?;
    check(&loaded.config)?;
    Ok(Loaded { file, ..loaded })
}

/// The socket alone, for commands that only talk to a daemon: what else may be wrong is no business
/// of theirs.
///
/// # Errors
///
/// [`ConfigError`] for a file that cannot be read or a path that is none.
pub fn load_socket(file: Option<&Path>, flags: Vec<Given>) -> Result<PathBuf, ConfigError> {
    let (layers, _) = layers(file, flags)?;
    let loaded = resolve(&layers, |row| row.name == "socket")?;
    Ok(loaded.config.socket)
}

/// Lays flags over the defaults, and nothing else, for a process that another one of ours starts with
/// all that it needs.
///
/// # Errors
///
/// [`ConfigError`] for a flag.
pub fn load_flags(flags: Vec<Given>) -> Result<Loaded, ConfigError> {
    resolve(
        &flags.into_iter().fold(Figment::new(), Figment::merge),
        |_| true,
    )
}

/// The configuration that an image before had: for each setting its name, value and origin, see
/// [`Loaded::values`].
///
/// # Errors
///
/// [`ConfigError`] for a value that this version does not accept.
pub fn restore(values: &[(String, String, String)]) -> Result<Loaded, ConfigError> {
    let mut config = Config::default();
    let origins = KEYS.iter().map(|row| {
        let known = values.iter().find(|(name, ..)| name == row.name);
        let Some((_, value, origin)) = known.filter(|(_, value, _)| !value.is_empty()) else {
            return Ok("default".to_owned());
        };
        match (row.set)(&mut config, value) {
            Some(()) => Ok(origin.clone()),
            None => Err(ConfigError::Value {
                origin: origin.clone(),
                key: row.name,
                value: value.clone(),
                form: row.form,
            }),
        }
    });
    let origins = origins.collect::<Result<_, _>>()?;
    Ok(Loaded {
        config,
        origins,
        file: None,
    })
}

/// All layers, and the file among them.
fn layers(
    file: Option<&Path>,
    flags: Vec<Given>,
) -> Result<(Figment, Option<PathBuf>), ConfigError> {
    let mut figment = Figment::new();
    let named = file.map(Path::to_owned).or_else(environment::config_file);
    let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists());
    let file = named.or_else(default);
    if let Some(path) = &file {
        figment = figment.merge(read_file(path)?);
    }
    for given in environment::settings().into_iter().chain(flags) {
        figment = figment.merge(given);
    }
    Ok((figment, file))
}

fn read_file(path: &Path) -> Result<impl Provider + use<>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::File(format!("{}: {error}", path.display())))?;
    let table = Toml::from_str::<Dict>(&text)
        .map_err(|error| ConfigError::File(format!("{}: {error}", path.display())))?;
    let origin = path.display().to_string();
    let known = |key: &str| KEYS.iter().any(|row| row.name == key);
    if let Some(key) = table.keys().find(|key| !known(key)) {
        let hint = keys::hint(key);
        return Err(ConfigError::Unknown {
            origin,
            key: key.clone(),
            hint,
        });
    }
    Ok(FileLayer { origin, table })
}

struct FileLayer {
    origin: String,
    table: Dict,
}

impl Provider for FileLayer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment2::Error> {
        Ok(Map::from([(Profile::Default, self.table.clone())]))
    }
}

/// Takes the values of the rows that are `wanted`.
fn resolve(figment: &Figment, wanted: fn(&Key) -> bool) -> Result<Loaded, ConfigError> {
    let mut config = Config::default();
    let mut origins = Vec::new();
    for row in KEYS {
        let found = figment.find_value(row.name).ok();
        let Some(value) = found.filter(|_| wanted(row)) else {
            origins.push("default".to_owned());
            continue;
        };
        let origin = figment
            .get_metadata(value.tag())
            .map_or_else(|| "default".into(), |metadata| metadata.name.to_string());
        let text = plain(&value);
        let taken = text
            .as_ref()
            .filter(|text| !text.contains(char::REPLACEMENT_CHARACTER))
            .and_then(|text| (row.set)(&mut config, text.trim()));
        if taken.is_none() {
            return Err(ConfigError::Value {
                origin,
                key: row.name,
                value: text.unwrap_or_else(|| "a table".into()),
                form: row.form,
            });
        }
        origins.push(origin);
    }
    Ok(Loaded {
        config,
        origins,
        file: None,
    })
}

/// The text of a value as it would stand in a variable: lists with commas. Tables have none.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Bool(_, yes) => Some(yes.to_string()),
        Value::Num(_, number) => number
            .to_i128()
            .map(|whole| whole.to_string())
            .or_else(|| number.to_f64().map(|fraction| fraction.to_string())),
        Value::Array(_, items) => items
            .iter()
            .map(plain)
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(",")),
        _ => None,
    }
}

fn check(config: &Config) -> Result<(), ConfigError> {
    let (frame, queue) = (config.frame_bytes, config.queue_bytes);
    if frame > queue {
        return Err(ConfigError::Contradiction(format!(
            "frame_bytes ({frame}) is above queue_bytes ({queue}): \
             the largest picture that is accepted could never be queued"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(key: &'static str, value: &str) -> Given {
        Given {
            origin: format!("flag --{key}"),
            key,
            value: value.into(),
        }
    }

    fn with(values: &[(&'static str, &str)]) -> Result<Loaded, ConfigError> {
        let layers = values.iter().map(|(key, value)| given(key, value));
        let loaded = resolve(&layers.fold(Figment::new(), Figment::merge), |_| true)?;
        check(&loaded.config)?;
        Ok(loaded)
    }

    #[test]
    fn later_layers_win_and_origins_are_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("dermald.toml");
        std::fs::write(&path, "threads = 3\nallow_users = [\"www\", \"1000\"]\n").expect("written");
        let layer = read_file(&path).expect("good TOML");
        let figment = Figment::new().merge(layer).merge(given("threads", "2"));
        let loaded = resolve(&figment, |_| true).expect("sound");
        assert_eq!(loaded.config.threads, 2);
        assert_eq!(loaded.config.allow_users, ["www", "1000"]);
        assert_eq!(loaded.origin("threads"), "flag --threads");
        assert!(loaded.origin("allow_users").ends_with("dermald.toml"));
        assert_eq!(loaded.origin("socket"), "default");
    }

    #[test]
    fn bad_values_name_origin_value_and_form() {
        let bad = [
            ("threads", "0"),
            ("threads", "four"),
            ("threads", "2,x"),
            ("socket", "/dev/shm/\u{fffd}"),
            ("preload", "maybe"),
            ("queue_bytes", "lots"),
            ("deadline", "5 parsecs"),
            ("log_level", "loud"),
            ("wait_policy", "spin"),
            ("socket", "relative.sock"),
            ("image_size", "-1"),
        ];
        for (key, value) in bad {
            let message = with(&[(key, value)]).expect_err(key).to_string();
            assert!(
                message.starts_with(&format!("flag --{key}: {key} is")),
                "{message}"
            );
            assert!(
                message.contains(&format!("{value:?}, expected ")),
                "{message}"
            );
        }
    }

    #[test]
    fn every_default_is_shown_in_a_form_that_is_read_back() {
        let defaults = Config::default();
        for row in KEYS {
            let shown = (row.show)(&defaults);
            if !shown.is_empty() {
                let mut config = Config::default();
                assert!(
                    (row.set)(&mut config, &shown).is_some(),
                    "{} = {shown}",
                    row.name
                );
                assert_eq!((row.show)(&config), shown, "{}", row.name);
            }
        }
    }

    #[test]
    fn sizes_are_shown_without_rounding() {
        let loaded = with(&[("frame_bytes", "1234567B"), ("queue_bytes", "48MiB")]).expect("sound");
        let shown = |name: &str| {
            let row = KEYS.iter().find(|row| row.name == name).expect("a row");
            (row.show)(&loaded.config)
        };
        assert_eq!(shown("frame_bytes"), "1234567B");
        assert_eq!(shown("queue_bytes"), "48MiB");
    }

    #[test]
    fn table_in_place_of_a_value_is_refused_and_the_socket_does_not_mind() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("dermald.toml");
        std::fs::write(&path, "socket = \"/run/d/s\"\n[bundle]\npath = \"x\"\n").expect("written");
        let message = load(Some(&path), Vec::new())
            .expect_err("a table")
            .to_string();
        assert!(
            message.contains("bundle is \"a table\", expected a folder"),
            "{message}"
        );
        let socket = load_socket(Some(&path), Vec::new()).expect("not its business");
        assert_eq!(socket, PathBuf::from("/run/d/s"));
    }

    #[test]
    fn unknown_key_is_named_with_the_nearest() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("dermald.toml");
        std::fs::write(&path, "thraeds = 3\n").expect("written");
        let message = read_file(&path).err().expect("unknown").to_string();
        assert!(
            message.contains("\"thraeds\" is no setting; did you mean threads?"),
            "{message}"
        );
    }

    #[test]
    fn frame_above_queue_is_a_contradiction() {
        let message = with(&[("frame_bytes", "64MiB")])
            .expect_err("too large")
            .to_string();
        assert!(message.contains("above queue_bytes"), "{message}");
    }

    #[test]
    fn configuration_comes_back_from_its_values() {
        let given = [
            ("threads", "3"),
            ("memory_limit", "45%"),
            ("idle", "off"),
            ("allow_users", "www,1000"),
            ("queue_bytes", "33MiB"),
        ];
        let loaded = with(&given).expect("good values");
        let again = restore(&loaded.values()).expect("the same values");
        assert_eq!(
            format!("{:?}", again.config),
            format!("{:?}", loaded.config)
        );
        assert_eq!(again.origin("threads"), "flag --threads");
        let newer = [("unknown".into(), "1".into(), "file".into())];
        assert!(restore(&newer).is_ok(), "settings of another version");
    }
}
