const label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
const hostname = `${label}(?:\\.${label}){0,7}`;
const byte = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const leapYear = "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)";
const date = `(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))|${leapYear}-02-29)`;
const time = "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
const hours = "T(?:\\d{1,9}H(?:\\d{1,9}M(?:\\d{1,9}S)?)?|\\d{1,9}M(?:\\d{1,9}S)?|\\d{1,9}S)";
const days = "(?:\\d{1,9}Y(?:\\d{1,9}M(?:\\d{1,9}D)?)?|\\d{1,9}M(?:\\d{1,9}D)?|\\d{1,9}D)";
const atom = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,64}";
const urlChar = "(?:[a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})";

/**
 * The formats that are enforced, each as a regular expression for the whole text. Whatever one lets through is of the format;
 * the last three leave out rare forms that are too (IPv6 with ::, addresses with quotes, URIs without a host).
 */
export const formats: Readonly<Record<string, string>> = {
  date,
  time,
  "date-time": `${date}T${time}`,
  duration: `P(?:${days}(?:${hours})?|${hours}|\\d{1,9}W)`,
  uuid: "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
  hostname,
  ipv4: `${byte}(?:\\.${byte}){3}`,
  ipv6: "[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){7}",
  email: `${atom}(?:\\.${atom}){0,7}@${label}(?:\\.${label}){1,7}`,
  uri: `[a-z][a-z0-9+.-]{0,20}://${hostname}(?::\\d{1,5})?(?:/${urlChar}*)*(?:\\?(?:${urlChar}|[/?])*)?(?:#(?:${urlChar}|[/?])*)?`,
};
