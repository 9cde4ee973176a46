//! Enums that the C header has as well.

/// Declares an enum of which the C header has a twin, `enum kvm_hotplug_cache` with `KVM_HOTPLUG_CACHE_NONE`
/// for instance. These lines are the only list of its values: build.rs makes the C enum of them, its comments
/// too, so they are for C readers. A value is a number by `as u32`, and a number a value by `of_number`.
///
/// Values of one declared `with data` may have fields, which the C enum does not show, and are a number by
/// `number`.
macro_rules! c_enum {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident = $c_name:ident, $prefix:ident, with data {
            $($(#[$about:meta])* $value:ident $(($($tuple:tt)*))? $({$($field:tt)*})? = $number:literal,)+
        }
    ) => {
        $(#[$attribute])*
        pub enum $name {
            $($(#[$about])* $value $(($($tuple)*))? $({$($field)*})?,)+
        }

        impl $name {
            /// The number that it has in the C header.
            pub fn number(&self) -> u32 {
                match self {
                    $(Self::$value { .. } => $number,)+
                }
            }
        }
    };
    (
        $(#[$attribute:meta])*
        pub enum $name:ident = $c_name:ident, $prefix:ident {
            $($(#[$about:meta])* $value:ident = $number:literal,)+
        }
    ) => {
        $(#[$attribute])*
        #[repr(u32)]
        pub enum $name {
            $($(#[$about])* $value = $number,)+
        }

        impl $name {
            /// The largest number.
            pub const LAST: u32 = {
                let [.., last] = [$($number),+];
                last
            };

            /// The value that the C header has with this number.
            pub fn of_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$value),)+
                    _ => None,
                }
            }
        }
    };
}
