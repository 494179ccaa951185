package broker

// HeaderDeliverAt is the header that has a message wait: milliseconds since
// 1970.
const HeaderDeliverAt = "mbus-deliver-at"
