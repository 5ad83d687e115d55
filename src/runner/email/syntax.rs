//! The syntax of an address, and its normal form.
//!
//! The grammar is `Mailbox` of RFC 5321 (4.1.2) with the Unicode of RFC 6531 (3.3): what can be
//! sent to. The wider one of RFC 5322 (comments, folded lines, a name with angle brackets) belongs
//! into message headers and is refused.
//!
//! Domains are judged by the `idna` crate (UTS 46), address literals by `std::net`. The local part
//! is done here: the `email_address` crate (a dev-dependency, with which the tests compare) says
//! `InvalidCharacter` for half of all mistakes, where a row has to name the mistake, and it differs
//! from the RFCs in a few places (refuses emoji and a quoted `\ `, accepts TAB in quotes and any
//! text in brackets). Added to the standards' rules: a domain has a dot and does not end in a
//! number, and invisible characters are refused.

use std::{borrow::Cow, net::IpAddr};

use icu_normalizer::ComposingNormalizerBorrowed;
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::Reason;

/// The longest text that is looked at, in bytes. A valid address has at most 254 octets in normal
/// form; its domain may be up to four times as long when it is written in Unicode.
pub const MAX_INPUT_BYTES: usize = 1_100;

/// RFC 5321, 4.5.3.1.3 (a path of 256 octets with its angle brackets); RFC 3696, erratum 1690.
const MAX_ADDRESS_BYTES: usize = 254;

/// RFC 5321, 4.5.3.1.1.
const MAX_LOCAL_BYTES: usize = 64;

/// An address with valid syntax, in normal form.
///
/// The normal form is free of surrounding white space and in Unicode NFC; its domain stands in
/// lower case and in A-label form (`xn--…`), an IP address as Rust writes it; its local part keeps
/// its case (RFC 5321, 2.4) but loses quotes and backslashes that it does not need (4.1.2). Nothing
/// is done that only holds at one provider, such as dropping dots or what follows a `+`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    normal: String,
    at: usize,
    is_literal: bool,
}

impl Address {
    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.normal
    }

    /// What stands before the `@` of the normal form.
    pub fn local(&self) -> &str {
        &self.normal[..self.at]
    }

    /// What stands after the `@` of the normal form: a domain, or an address literal with its
    /// brackets.
    pub fn domain(&self) -> &str {
        &self.normal[self.at + 1..]
    }

    /// Whether an IP address stands in place of a domain.
    pub fn is_literal(&self) -> bool {
        self.is_literal
    }

    /// Equal for addresses that are the same mailbox: the normal form without its case. The
    /// standard lets a domain tell `Ann@` from `ann@`, but no provider in use does, and mailing
    /// both mails a person twice.
    pub fn duplicate_key(&self) -> String {
        self.normal.to_lowercase()
    }

    /// The normal form with another domain.
    pub(super) fn with_domain(&self, domain: &str) -> String {
        format!("{}@{domain}", self.local())
    }
}

/// Parses one address. The error is one of the `syntax_…` reasons: the first that applies, from
/// left to right after the checks on the whole.
///
/// # Errors
/// When the text is not an address, see above.
pub fn parse(text: &str) -> Result<Address, Reason> {
    if text.len() > MAX_INPUT_BYTES {
        return Err(Reason::SyntaxTooLong);
    }
    let text = normalize_unicode(text.trim());
    if text.is_empty() {
        return Err(Reason::SyntaxEmpty);
    }
    // No local part and no domain may hold these unquoted, so this is a name with an address, as in
    // a header.
    if text.ends_with('>') && text.contains('<') {
        return Err(Reason::SyntaxDisplayName);
    }
    let (local, domain) = text.rsplit_once('@').ok_or(Reason::SyntaxMissingAt)?;
    let local = parse_local(local)?;
    let (domain, is_literal) = if domain.starts_with('[') {
        (parse_literal(domain)?, true)
    } else {
        (parse_domain(domain)?, false)
    };
    if local.len() + 1 + domain.len() > MAX_ADDRESS_BYTES {
        return Err(Reason::SyntaxTooLong);
    }
    Ok(Address {
        at: local.len(),
        normal: format!("{local}@{domain}"),
        is_literal,
    })
}

/// What was probably meant by a text that is not an address: the address inside angle brackets, or
/// the provider's whole domain where only its name is given.
pub(super) fn suggest(text: &str, reason: Reason) -> Option<String> {
    match reason {
        Reason::SyntaxDisplayName => {
            let inside = text.trim().strip_suffix('>')?.rsplit_once('<')?.1;
            Some(parse(inside).ok()?.normal)
        }
        Reason::SyntaxDomainNoDot => {
            let (local, label) = text.trim().rsplit_once('@')?;
            let domain = super::typo::complete(&label.to_ascii_lowercase())?;
            Some(parse(&format!("{local}@{domain}")).ok()?.normal)
        }
        _ => None,
    }
}

/// NFC, as RFC 6532 (3.1) asks for; most addresses are ASCII and have it.
fn normalize_unicode(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        Cow::Borrowed(text)
    } else {
        ComposingNormalizerBorrowed::new_nfc().normalize(text)
    }
}

/// `Local-part = Dot-string / Quoted-string`, in normal form.
fn parse_local(local: &str) -> Result<Cow<'_, str>, Reason> {
    if local.is_empty() {
        return Err(Reason::SyntaxLocalEmpty);
    }
    if local.len() > MAX_LOCAL_BYTES {
        return Err(Reason::SyntaxLocalTooLong);
    }
    if local.starts_with('"') {
        return parse_quoted(local).map(Cow::Owned);
    }
    match dot_string_fault(local) {
        None => Ok(Cow::Borrowed(local)),
        Some(fault) => Err(fault),
    }
}

/// What keeps the text from being a `Dot-string`.
fn dot_string_fault(local: &str) -> Option<Reason> {
    let is_atom_character = |character: char| {
        character.is_ascii_alphanumeric() || ATOM_SIGNS.contains(character) || is_text(character)
    };
    for character in local.chars() {
        match character {
            '.' => {}
            '"' => return Some(Reason::SyntaxLocalQuotes),
            character if is_atom_character(character) => {}
            _ => return Some(Reason::SyntaxLocalCharacter),
        }
    }
    local
        .split('.')
        .any(str::is_empty)
        .then_some(Reason::SyntaxLocalDot)
}

/// The signs of `atext` (RFC 5322, 3.2.3).
const ATOM_SIGNS: &str = "!#$%&'*+-/=?^_`{|}~";

/// `Quoted-string`: in normal form without quotes where it can do without, else with the fewest
/// backslashes.
fn parse_quoted(local: &str) -> Result<String, Reason> {
    let mut content = String::with_capacity(local.len());
    let mut rest = local.chars().skip(1);
    loop {
        match rest.next().ok_or(Reason::SyntaxLocalQuotes)? {
            '"' => break,
            '\\' => match rest.next().ok_or(Reason::SyntaxLocalQuotes)? {
                character @ ' '..='~' => content.push(character),
                _ => return Err(Reason::SyntaxLocalCharacter),
            },
            character if matches!(character, ' '..='~') || is_text(character) => {
                content.push(character)
            }
            _ => return Err(Reason::SyntaxLocalCharacter),
        }
    }
    if rest.next().is_some() {
        return Err(Reason::SyntaxLocalQuotes);
    }
    if content.is_empty() {
        // The grammar has it, but no mailbox is called that, and software disagrees on what it
        // means.
        return Err(Reason::SyntaxLocalEmpty);
    }
    if dot_string_fault(&content).is_none() {
        return Ok(content);
    }
    let mut quoted = String::with_capacity(local.len());
    quoted.push('"');
    for character in content.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    Ok(quoted)
}

/// Whether a non-ASCII character may stand in a local part. RFC 6531 allows all of them; left out
/// are those that cannot be seen, since two addresses that look alike would differ: controls,
/// spaces and direction marks. The two joiners stay, because some scripts are not spelled right
/// without them.
fn is_text(character: char) -> bool {
    let is_invisible = matches!(
        character,
        '\u{00AD}'
            | '\u{061C}'
            | '\u{180E}'
            | '\u{200B}'
            | '\u{200E}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF0}'..='\u{FFFF}'
            | '\u{E0000}'..='\u{E0FFF}'
    );
    !character.is_ascii() && !character.is_control() && !character.is_whitespace() && !is_invisible
}

/// `Domain`, in lower case and A-label form.
fn parse_domain(domain: &str) -> Result<Cow<'_, str>, Reason> {
    let to_ascii = |length| {
        // `CheckFirstLast`: hyphens in third and fourth place occur in real host names.
        Uts46::new().to_ascii(
            domain.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::CheckFirstLast,
            length,
        )
    };
    let ascii = to_ascii(DnsLength::Verify).map_err(|_| {
        // The library says only that something is wrong; the row says what.
        domain_fault(domain).unwrap_or_else(|| match to_ascii(DnsLength::Ignore) {
            Ok(ascii) if ascii.split('.').any(str::is_empty) => Reason::SyntaxDomainDot,
            Ok(_) => Reason::SyntaxDomainTooLong,
            Err(_) => Reason::SyntaxDomainIdna,
        })
    })?;
    match ascii.rsplit_once('.') {
        None => Err(Reason::SyntaxDomainNoDot),
        Some((_, last)) if last.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(Reason::SyntaxDomainNumeric)
        }
        Some(_) => Ok(ascii),
    }
}

/// What can be seen to be wrong with a domain without knowing IDNA.
fn domain_fault(domain: &str) -> Option<Reason> {
    let is_label_character = |character: char| {
        !character.is_ascii() || character.is_ascii_alphanumeric() || character == '-'
    };
    if domain.is_empty() {
        Some(Reason::SyntaxDomainEmpty)
    } else if !domain
        .split('.')
        .flat_map(str::chars)
        .all(is_label_character)
    {
        Some(Reason::SyntaxDomainCharacter)
    } else if domain.split('.').any(str::is_empty) {
        Some(Reason::SyntaxDomainDot)
    } else if domain
        .split('.')
        .any(|label| label.starts_with('-') || label.ends_with('-'))
    {
        Some(Reason::SyntaxDomainHyphen)
    } else {
        None
    }
}

/// `address-literal` (4.1.3): IPv4, or `IPv6:` and an IPv6 address. No other kind was ever
/// registered.
fn parse_literal(domain: &str) -> Result<Cow<'_, str>, Reason> {
    let inside = domain
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or(Reason::SyntaxAddressLiteral)?;
    let address = match inside.split_at_checked(IPV6_TAG.len()) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case(IPV6_TAG) => rest.parse().map(IpAddr::V6),
        _ => inside.parse().map(IpAddr::V4),
    };
    match address.map_err(|_| Reason::SyntaxAddressLiteral)? {
        IpAddr::V4(address) => Ok(Cow::Owned(format!("[{address}]"))),
        IpAddr::V6(address) => Ok(Cow::Owned(format!("[{IPV6_TAG}{address}]"))),
    }
}

const IPV6_TAG: &str = "IPv6:";

#[cfg(test)]
mod tests;
