//! Reading one table of the settings, with the line to blame for each fault.

use std::ops::{Range, RangeInclusive};

use toml_edit::{Item, TableLike, Value};

use super::{ConfigError, Place, keys};

/// One table of the file with what is needed to say where something in it stands.
pub(super) struct Section<'a> {
    pub(super) text: &'a str,
    pub(super) name: &'a str,
    pub(super) table: &'a dyn TableLike,
    pub(super) span: Option<Range<usize>>,
}

impl Section<'_> {
    fn full_key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Returns where `key` stands, or the table where it is missing.
    fn place(&self, key: &str) -> Place {
        let found = self.table.get_key_value(key);
        let span = found
            .and_then(|(key, item)| key.span().or_else(|| item.span()))
            .or_else(|| self.span.clone());
        let line = span.map(|span| line_of(self.text, span.start));
        Place { line, ..Place::default() }
    }

    pub(super) fn error(&self, key: &str, why: impl Into<String>) -> ConfigError {
        ConfigError::Value { key: self.full_key(key), place: self.place(key), why: why.into() }
    }

    pub(super) fn check_keys(&self, known: &[&str]) -> Result<(), ConfigError> {
        match self.table.iter().find(|(key, _)| !known.contains(key)) {
            None => Ok(()),
            Some((key, _)) => Err(ConfigError::UnknownKey {
                key: self.full_key(key),
                place: self.place(key),
                nearest: keys::nearest(key, known).map(|near| self.full_key(&near)),
            }),
        }
    }

    fn value(&self, key: &str) -> Result<Option<&Value>, ConfigError> {
        match self.table.get(key) {
            None | Some(Item::None) => Ok(None),
            Some(Item::Value(value)) => Ok(Some(value)),
            Some(Item::Table(_) | Item::ArrayOfTables(_)) => {
                Err(self.error(key, "it is a value, not a table"))
            }
        }
    }

    pub(super) fn checked_text(
        &self,
        key: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Option<String>, ConfigError> {
        let Some(value) = self.value(key)? else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| self.error(key, "it is text in quotes"))?;
        check(text).map_err(|why| self.error(key, why))?;
        Ok(Some(text.to_owned()))
    }

    pub(super) fn checked_list(
        &self,
        key: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(value) = self.value(key)? else { return Ok(None) };
        let wrong = || self.error(key, "it is a list of texts in quotes, like [\"a\", \"b\"]");
        let mut texts = Vec::new();
        for element in value.as_array().ok_or_else(wrong)? {
            let text = element.as_str().ok_or_else(wrong)?;
            check(text).map_err(|why| self.error(key, why))?;
            texts.push(text.to_owned());
        }
        Ok(Some(texts))
    }

    pub(super) fn number(
        &self,
        key: &str,
        allowed: RangeInclusive<i64>,
    ) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.value(key)? else { return Ok(None) };
        let (least, most) = allowed.clone().into_inner();
        value
            .as_integer()
            .filter(|number| allowed.contains(number))
            .and_then(|number| u64::try_from(number).ok())
            .ok_or_else(|| self.error(key, format!("it is a whole number from {least} to {most}")))
            .map(Some)
    }

    pub(super) fn small(&self, key: &str, most: u32) -> Result<Option<u32>, ConfigError> {
        let number = self.number(key, 0..=i64::from(most))?;
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        let Some(value) = self.value(key)? else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.error(key, "it is true or false"))
    }

    pub(super) fn required(&self, key: &str, value: Option<String>) -> Result<String, ConfigError> {
        value.ok_or_else(|| self.error(key, "it is missing"))
    }

    /// Returns the table under `key`, or `None` where there is none.
    pub(super) fn section<'b>(&'b self, key: &'b str) -> Result<Option<Section<'b>>, ConfigError> {
        match self.table.get(key) {
            None | Some(Item::None) => Ok(None),
            Some(item) => {
                let wrong = || self.error(key, format!("it is a table, [{key}]"));
                let table = item.as_table_like().ok_or_else(wrong)?;
                Ok(Some(Section { text: self.text, name: key, table, span: item.span() }))
            }
        }
    }
}

/// Reads each `[[name]]` of `top` with `read`, in the file's order.
pub(super) fn read_all<T>(
    top: &Section<'_>,
    name: &'static str,
    read: impl Fn(&Section<'_>) -> Result<T, ConfigError>,
) -> Result<Vec<T>, ConfigError> {
    let section = |table, span| Section { text: top.text, name, table, span };
    let wrong = || top.error(name, format!("each stands under its own [[{name}]]"));
    let sections: Vec<Section<'_>> = match top.table.get(name) {
        None | Some(Item::None) => Vec::new(),
        Some(Item::ArrayOfTables(tables)) => {
            tables.iter().map(|table| section(table as &dyn TableLike, table.span())).collect()
        }
        Some(Item::Value(Value::Array(array))) => array
            .iter()
            .map(|value| {
                let table = value.as_inline_table().ok_or_else(wrong)?;
                Ok(section(table as &dyn TableLike, value.span()))
            })
            .collect::<Result<_, ConfigError>>()?,
        Some(Item::Value(_) | Item::Table(_)) => return Err(wrong()),
    };
    sections.iter().map(read).collect()
}

/// Returns the line, from 1, of the byte `at`.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// Returns the column, from 1, of the byte `at`, in characters.
pub(super) fn column_of(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    1 + before.chars().rev().take_while(|character| *character != '\n').count()
}
