//! What many types of the domain are made by: closed sets whose values have a name on the wire, each listed once, and
//! texts that obey a rule.

/// A closed set whose values have names.
pub trait Named: Copy + Eq + 'static {
    /// Every value, in order.
    const ALL: &'static [Self];

    /// The name on the wire.
    fn as_str(self) -> &'static str;

    /// The value of that name.
    #[must_use]
    fn parse(raw: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.as_str() == raw)
    }
}

/// Makes an enum of values and their names, with what [`Named`] has: as its own, too, so that no user has to import
/// that.
macro_rules! named {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$doc:meta])* $value:ident = $text:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $($(#[$doc])* $value,)* }

        impl $name {
            /// Every value, in order.
            $vis const ALL: [Self; [$($text),*].len()] = [$(Self::$value),*];

            /// The name on the wire.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }

            /// The value of that name.
            #[must_use]
            $vis fn parse(raw: &str) -> Option<Self> {
                $crate::domain::Named::parse(raw)
            }
        }

        impl $crate::domain::Named for $name {
            const ALL: &'static [Self] = &Self::ALL;

            fn as_str(self) -> &'static str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
    // What an enum with data is, without the data.
    ($(#[$meta:meta])* $vis:vis enum $name:ident of $whole:ident {
        $($(#[$doc:meta])* $value:ident = $text:literal,)*
    }) => {
        $crate::domain::named! {
            $(#[$meta])* $vis enum $name { $($(#[$doc])* $value = $text,)* }
        }

        impl $whole {
            /// What it is.
            #[must_use]
            $vis const fn kind(&self) -> $name {
                match self { $(Self::$value { .. } => $name::$value,)* }
            }
        }
    };
}
pub(crate) use named;

/// Makes a type whose values are texts that obey a rule; its module has the one function that checks it.
macro_rules! text {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use text;
