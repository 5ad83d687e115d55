//! Likely typing slips in the domains of big providers (`gmial.com`, `hotmail.con`).
//!
//! A false alarm costs a real address, so the net is narrow: a single slip in the provider's name
//! (Damerau–Levenshtein distance 1), which must keep the first letter, since most short words that
//! differ there are domains of their own (`email.com`, `ymail.com`, `mail.com`). Endings are compared
//! with a list of slips, not by distance, since most short endings exist (`yahoo.ca`, `hotmail.cl`).

use strsim::osa_distance;

/// Whether the domain is one of the big providers' own.
pub(super) fn is_provider(domain: &str) -> bool {
    OTHER_PROVIDERS.contains(&domain)
        || domain.split_once('.').is_some_and(|(name, ending)| {
            PROVIDERS
                .iter()
                .any(|provider| provider.name == name && provider.endings.contains(&ending))
        })
}

/// The domain that was probably meant by `domain` (A-label form, lower case); `None` when it looks
/// as intended.
pub(super) fn suggest(domain: &str) -> Option<String> {
    if is_provider(domain) || LOOKALIKES.contains(&domain) {
        return None;
    }
    let (name, ending) = domain.split_once('.')?;
    for provider in PROVIDERS {
        let same_name = provider.name == name;
        if !same_name && !is_slip(name, provider.name) {
            continue;
        }
        if !same_name && provider.endings.contains(&ending) {
            return Some(format!("{}.{ending}", provider.name));
        }
        if let Some(meant) = meant_ending(ending).filter(|meant| provider.endings.contains(meant)) {
            return Some(format!("{}.{meant}", provider.name));
        }
    }
    // A slip in the ending of any other domain, as far as no such top-level domain exists.
    let (front, top) = domain.rsplit_once('.')?;
    let (_, meant) = TOP_LEVEL_SLIPS.iter().find(|(slip, _)| *slip == top)?;
    Some(format!("{front}.{meant}"))
}

/// The provider that was probably meant by a domain without a dot (`gmail`, `gmailcom`).
pub(super) fn complete(label: &str) -> Option<String> {
    PROVIDERS.iter().find_map(|provider| {
        let ending = provider.endings.first()?;
        let run_together = label
            .strip_prefix(provider.name)
            .is_some_and(|rest| rest.is_empty() || rest == *ending);
        run_together.then(|| format!("{}.{ending}", provider.name))
    })
}

/// Whether one slip of the fingers leads from `meant` to `typed`.
fn is_slip(typed: &str, meant: &str) -> bool {
    if typed.len().abs_diff(meant.len()) > 1 {
        return false;
    }
    let swapped_start = || {
        let mut letters = meant.bytes();
        let (first, second) = (letters.next(), letters.next());
        typed
            .bytes()
            .take(2)
            .eq([second, first].into_iter().flatten())
    };
    (typed.as_bytes().first() == meant.as_bytes().first() || swapped_start())
        && osa_distance(typed, meant) == 1
}

/// The ending that was probably meant by one that no provider has.
fn meant_ending(typed: &str) -> Option<&'static str> {
    TOP_LEVEL_SLIPS
        .iter()
        .chain(PROVIDER_ENDING_SLIPS)
        .find_map(|(slip, meant)| (*slip == typed).then_some(*meant))
}

/// A provider whose name is long and odd enough that a near miss is a slip.
struct Provider {
    name: &'static str,
    /// What may follow the name; the first is the usual one.
    endings: &'static [&'static str],
}

/// Where the big families have mailboxes.
const FAMILY_ENDINGS: &[&str] = &[
    "com", "co.uk", "fr", "de", "it", "es", "ca", "be", "nl", "at", "ch", "se", "dk", "no", "gr",
    "pt", "pl", "ie", "cl", "com.ar", "com.au", "com.br", "com.mx", "com.tr", "com.sg", "com.hk",
    "com.tw", "com.vn", "com.ph", "co.in", "in", "co.jp", "co.id", "co.nz", "co.za", "co.kr",
    "co.th", "co.il", "ro", "cz", "hu", "sk", "my", "ph",
];

/// Most used first: of two equally near providers the first is suggested.
const PROVIDERS: &[Provider] = &[
    Provider {
        name: "gmail",
        endings: &["com"],
    },
    Provider {
        name: "hotmail",
        endings: FAMILY_ENDINGS,
    },
    Provider {
        name: "outlook",
        endings: FAMILY_ENDINGS,
    },
    Provider {
        name: "yahoo",
        endings: FAMILY_ENDINGS,
    },
    Provider {
        name: "icloud",
        endings: &["com"],
    },
    Provider {
        name: "googlemail",
        endings: &["com"],
    },
    Provider {
        name: "protonmail",
        endings: &["com", "ch"],
    },
    Provider {
        name: "rocketmail",
        endings: &["com"],
    },
    Provider {
        name: "fastmail",
        endings: &["com", "fm"],
    },
    Provider {
        name: "tutanota",
        endings: &["com", "de"],
    },
    Provider {
        name: "yandex",
        endings: &["ru", "com", "by", "kz", "ua", "com.tr"],
    },
    Provider {
        name: "comcast",
        endings: &["net"],
    },
    Provider {
        name: "verizon",
        endings: &["net"],
    },
    Provider {
        name: "sbcglobal",
        endings: &["net"],
    },
    Provider {
        name: "bellsouth",
        endings: &["net"],
    },
    Provider {
        name: "btinternet",
        endings: &["com"],
    },
    Provider {
        name: "laposte",
        endings: &["net"],
    },
    Provider {
        name: "wanadoo",
        endings: &["fr"],
    },
    Provider {
        name: "t-online",
        endings: &["de"],
    },
    Provider {
        name: "rediffmail",
        endings: &["com"],
    },
];

/// Providers whose names are too short or too much like words to compare with; sure to be meant
/// when written.
const OTHER_PROVIDERS: &[&str] = &[
    "126.com",
    "163.com",
    "aim.com",
    "aol.com",
    "arcor.de",
    "att.net",
    "bigpond.com",
    "bluewin.ch",
    "charter.net",
    "cox.net",
    "daum.net",
    "earthlink.net",
    "email.com",
    "email.cz",
    "email.it",
    "foxmail.com",
    "free.fr",
    "freenet.de",
    "gmx.at",
    "gmx.ch",
    "gmx.com",
    "gmx.de",
    "gmx.fr",
    "gmx.net",
    "hanmail.net",
    "hey.com",
    "hushmail.com",
    "inbox.com",
    "interia.pl",
    "juno.com",
    "libero.it",
    "list.ru",
    "live.com",
    "live.co.uk",
    "live.fr",
    "live.nl",
    "mac.com",
    "mail.com",
    "mail.de",
    "mail.ru",
    "mailbox.org",
    "me.com",
    "msn.com",
    "naver.com",
    "o2.pl",
    "onet.pl",
    "optonline.net",
    "orange.fr",
    "outlook.sa",
    "pm.me",
    "posteo.de",
    "proton.me",
    "qq.com",
    "rambler.ru",
    "seznam.cz",
    "sfr.fr",
    "shaw.ca",
    "sina.com",
    "sky.com",
    "sympatico.ca",
    "talktalk.net",
    "telenet.be",
    "tiscali.it",
    "tuta.io",
    "uol.com.br",
    "virgilio.it",
    "web.de",
    "wp.pl",
    "ya.ru",
    "yeah.net",
    "ymail.com",
    "ziggo.nl",
    "zoho.com",
];

/// Domains in use that happen to be one letter away from a provider.
const LOOKALIKES: &[&str] = &[
    "gail.com",
    "grail.com",
    "gmail.de",
    "yaho.de",
    "outlooks.com",
];

/// Slips that are no top-level domain, so that they are slips after any name.
const TOP_LEVEL_SLIPS: &[(&str, &str)] = &[
    ("con", "com"),
    ("cmo", "com"),
    ("ocm", "com"),
    ("comm", "com"),
    ("coom", "com"),
    ("ccom", "com"),
    ("cim", "com"),
    ("cpm", "com"),
    ("vom", "com"),
    ("xom", "com"),
    ("c0m", "com"),
    ("cok", "com"),
    ("ner", "net"),
    ("nte", "net"),
    ("nett", "net"),
    ("met", "net"),
    ("ogr", "org"),
    ("rog", "org"),
    ("orgg", "org"),
    ("prg", "org"),
];

/// Slips that exist as endings, but not after a provider's name.
const PROVIDER_ENDING_SLIPS: &[(&str, &str)] = &[
    ("co", "com"),
    ("cm", "com"),
    ("om", "com"),
    ("c", "com"),
    ("com.com", "com"),
    ("ne", "net"),
    ("net.com", "net"),
    ("couk", "co.uk"),
    ("co.k", "co.uk"),
    ("cp.uk", "co.uk"),
    ("com.uk", "co.uk"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_in_big_providers_are_corrected() {
        for (typed, meant) in [
            ("gmial.com", "gmail.com"),
            ("gmai.com", "gmail.com"),
            ("gmaill.com", "gmail.com"),
            ("gnail.com", "gmail.com"),
            ("mgail.com", "gmail.com"),
            ("gmail.con", "gmail.com"),
            ("gmail.co", "gmail.com"),
            ("gmial.cmo", "gmail.com"),
            ("hotmial.com", "hotmail.com"),
            ("hotmal.co.uk", "hotmail.co.uk"),
            ("hotmail.couk", "hotmail.co.uk"),
            ("yaho.com", "yahoo.com"),
            ("yahooo.fr", "yahoo.fr"),
            ("outlok.com", "outlook.com"),
            ("iclod.com", "icloud.com"),
            ("comcast.ner", "comcast.net"),
            ("acme-works.con", "acme-works.com"),
        ] {
            assert_eq!(suggest(typed).as_deref(), Some(meant), "{typed}");
        }
    }

    #[test]
    fn real_domains_near_providers_are_left_alone() {
        for domain in [
            "gmail.com",
            "ymail.com",
            "mail.com",
            "email.com",
            "gmx.com",
            "gmx.de",
            "hotmail.fr",
            "yahoo.ca",
            "me.com",
            "mac.com",
            "aol.com",
            "live.com",
            "hotmart.com",
            "zmail.ru",
            "outlook.de",
            "cloud.com",
            "grail.com",
            "proton.me",
            "mail.ru",
            "gmail.acme.com",
            "acme.co",
            "acme.cm",
            "gmail.de",
            "hotmail.cl",
            "horizon.net",
        ] {
            assert_eq!(suggest(domain), None, "{domain}");
        }
    }

    #[test]
    fn every_correction_is_stable() {
        for provider in PROVIDERS {
            for ending in provider.endings {
                let domain = format!("{}.{ending}", provider.name);
                assert_eq!(suggest(&domain), None, "{domain}");
            }
        }
    }

    #[test]
    fn domains_without_a_dot_are_completed() {
        assert_eq!(complete("gmail").as_deref(), Some("gmail.com"));
        assert_eq!(complete("t-onlinede").as_deref(), Some("t-online.de"));
        assert_eq!(complete("gmailer"), None);
        assert_eq!(complete("localhost"), None);
    }
}
