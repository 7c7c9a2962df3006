// Every word of the page, in English and Spanish. What the bot says is the bot's: its language follows the member.
const WORDS = {
  en: {
    title: "Rehearsal", ribbon: "Rehearsal: nothing here leaves this machine.", studio: "Open the studio", skip: "Skip to the composer",
    people: "Members and channels", you_play: "You play", member: "member", owner: "owner", bot: "bot",
    channels: "Channels {name} sees", no_channels: "{name} sees no channel.", direct: "Direct messages",
    inspect: "Inspect", theme_dark: "Dark", theme_light: "Light", close: "Close",
    messages: "Messages", empty: "Nothing here yet. Type / to see what the bot can do.", start: "This is where {name} begins.",
    write: "Message {name}", write_as: "Write as {name}", no_send: "{name} may read here, not write.", send: "Send", attach: "Add a file", remove: "Remove",
    private_to: "only {names}", new_messages: "New messages", to_newest: "To the newest", unread: "{n} new", pinged: "{n} for you",
    away: "The bot is not connected. Start it, and it finds this place.", bot_on: "bot online", bot_off: "bot offline",
    lost: "Lost the rehearsal server. Trying again…", back: "Connected again.",
    edited: "edited", used: "used", replied: "replied to", only: "Only {name} sees this.", dismiss: "Dismiss", thinking: "{name} is thinking…", typing: "{name} is typing…",
    deleted: "a deleted message", failed: "The application did not respond.", pending: "Waiting for the bot…",
    someone: "someone", role: "role", no_channel: "no access", spoiler: "Covered. Press to show.", unfinished: "picture",
    external: "Not loaded: it is on another machine.", open_picture: "Open the picture", picture_of: "Picture {n} of {total}", previous: "Previous", next: "Next",
    choose: "Choose", done: "Done", choices_between: "Choose {a} to {b}.", part: "Part of kind {type}, which this page cannot draw",
    parts: "{n} of {max} parts", characters: "{n} of {max} characters", parts_label: "parts", characters_label: "characters", inspector: "Inspector", inspector_hint: "Press a message to see what was sent.", raw: "As sent",
    commands: "Commands", options_left: "options left", no_options: "Enter sends it.", tab: "Tab takes one", tab_enter: "↑ ↓ choose, Tab takes", required: "needed", optional: "optional",
    no_command: "No command is called that.", no_commands: "The bot has not registered any commands.", values: "values", loading: "Asking the bot…", no_values: "No suggestions.",
    missing: "{option} is needed.", not_number: "{option}: a number, please.", not_integer: "{option}: a whole number, please.", too_small: "{option}: {n} or more.", too_big: "{option}: {n} or less.",
    too_short: "{option}: {n} characters or more.", too_long: "{option}: {n} characters or fewer.", not_choice: "{option}: choose one of the list.",
    at_least: "from {n}", at_most: "to {n}", between: "{a} to {b}",
    type_3: "text", type_4: "whole number", type_5: "yes or no", type_6: "member", type_7: "channel", type_8: "role", type_9: "member or role", type_10: "number", type_11: "file",
    yes: "True", no: "False", too_long_message: "{n} of {max} characters. Shorten it to send.",
    switcher: "Switch member or channel", nothing_found: "Nothing found.",
    ping: "{who} wrote to {name} in {channel}", go: "Go there", new_channel: "A new channel: {name}", gone: "{name} is gone for {member}.", cancel: "Cancel", submit: "Send",
    refused: "The server refused: {why}", no_answer: "The rehearsal server does not answer.", actions: "More for this message", copy_id: "Copy the id", copied: "Copied.", files_fit: "{a} to {b} files", add_person: "Someone new", person_name: "Name", language: "Language", join: "Join", name_rule: "2 to 32 letters, figures, dots or underscores.", reply: "Reply", remove_message: "Delete", seen_by: "Seen by {names}", loading_page: "Opening the rehearsal…", bot_word: "the bot",
  },
  es: {
    title: "Ensayo", ribbon: "Ensayo: nada de esto sale de esta máquina.", studio: "Abrir el estudio", skip: "Ir al campo de texto",
    people: "Miembros y canales", you_play: "Juegas con", member: "miembro", owner: "dueño", bot: "bot",
    channels: "Canales que ve {name}", no_channels: "{name} no ve ningún canal.", direct: "Mensajes directos",
    inspect: "Inspeccionar", theme_dark: "Oscuro", theme_light: "Claro", close: "Cerrar",
    messages: "Mensajes", empty: "Aún no hay nada. Escribe / para ver qué sabe hacer el bot.", start: "Aquí empieza {name}.",
    write: "Mensaje en {name}", write_as: "Escribir como {name}", no_send: "{name} puede leer aquí, pero no escribir.", send: "Enviar", attach: "Añadir un archivo", remove: "Quitar",
    private_to: "solo {names}", new_messages: "Mensajes nuevos", to_newest: "Ir a lo último", unread: "{n} sin leer", pinged: "{n} para ti",
    away: "El bot no está conectado. Inícialo y encontrará este lugar.", bot_on: "bot en línea", bot_off: "bot desconectado",
    lost: "Se perdió el servidor de ensayo. Reintentando…", back: "Conectado de nuevo.",
    edited: "editado", used: "usó", replied: "respondió a", only: "Solo {name} ve esto.", dismiss: "Descartar", thinking: "{name} está pensando…", typing: "{name} está escribiendo…",
    deleted: "un mensaje eliminado", failed: "La aplicación no respondió.", pending: "Esperando al bot…",
    someone: "alguien", role: "rol", no_channel: "sin acceso", spoiler: "Cubierto. Pulsa para ver.", unfinished: "imagen",
    external: "No se carga: está en otra máquina.", open_picture: "Abrir la imagen", picture_of: "Imagen {n} de {total}", previous: "Anterior", next: "Siguiente",
    choose: "Elegir", done: "Listo", choices_between: "Elige de {a} a {b}.", part: "Parte de tipo {type}, que esta página no sabe dibujar",
    parts: "{n} de {max} partes", characters: "{n} de {max} caracteres", parts_label: "partes", characters_label: "caracteres", inspector: "Inspector", inspector_hint: "Pulsa un mensaje para ver lo que se envió.", raw: "Tal como se envió",
    commands: "Comandos", options_left: "opciones que quedan", no_options: "Enter lo envía.", tab: "Tab toma una", tab_enter: "↑ ↓ elegir, Tab tomar", required: "necesaria", optional: "opcional",
    no_command: "Ningún comando se llama así.", no_commands: "El bot no ha registrado ningún comando.", values: "valores", loading: "Preguntando al bot…", no_values: "Sin sugerencias.",
    missing: "Falta {option}.", not_number: "{option}: un número, por favor.", not_integer: "{option}: un número entero, por favor.", too_small: "{option}: {n} o más.", too_big: "{option}: {n} o menos.",
    too_short: "{option}: {n} caracteres o más.", too_long: "{option}: {n} caracteres o menos.", not_choice: "{option}: elige uno de la lista.",
    at_least: "desde {n}", at_most: "hasta {n}", between: "de {a} a {b}",
    type_3: "texto", type_4: "número entero", type_5: "sí o no", type_6: "miembro", type_7: "canal", type_8: "rol", type_9: "miembro o rol", type_10: "número", type_11: "archivo",
    yes: "Verdadero", no: "Falso", too_long_message: "{n} de {max} caracteres. Acórtalo para enviarlo.",
    switcher: "Cambiar de miembro o de canal", nothing_found: "No se encontró nada.",
    ping: "{who} escribió a {name} en {channel}", go: "Ir allí", new_channel: "Un canal nuevo: {name}", gone: "{name} ya no existe para {member}.", cancel: "Cancelar", submit: "Enviar",
    refused: "El servidor lo rechazó: {why}", no_answer: "El servidor de ensayo no responde.", actions: "Más sobre este mensaje", copy_id: "Copiar el id", copied: "Copiado.", files_fit: "de {a} a {b} archivos", add_person: "Alguien nuevo", person_name: "Nombre", language: "Idioma", join: "Entrar", name_rule: "De 2 a 32 letras, cifras, puntos o guiones bajos.", reply: "Responder", remove_message: "Eliminar", seen_by: "Lo ven {names}", loading_page: "Abriendo el ensayo…", bot_word: "el bot",
  },
};

const wanted = new URLSearchParams(location.search).get("lang") ?? navigator.language ?? "en";
/** The page's language: the browser's, or `?lang=`. */
export const lang = wanted.toLowerCase().startsWith("es") ? "es" : "en";

/** One sentence of the page, with {names} filled in. */
export function say(key, values = {}) {
  return (WORDS[lang][key] ?? WORDS.en[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

