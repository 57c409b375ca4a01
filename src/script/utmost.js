/*! utmost: carries click tokens from the landing page to the order; docs/SCRIPT.md */
(function (win, doc, nav) {
  "use strict";
  var tag = doc.currentScript || doc.querySelector('script[src*="/js/utmost.js"]');
  var early = win.utmost;
  if (!tag || (early && early.loaded)) return;

  var NAME = "um_click"; // of cookie, storage item, form field and cart attribute
  var LANDING = "um_landing";
  var TOKEN = /^[\w-]{40,80}$/;
  var TAGGED = /[?&](utm_\w+|\w+clk?id|[gw]braid)=/;
  var TOUCHES_MAX = 10;

  var days = Math.min(+option("days") || 100, 400);
  var nowS = Math.floor(Date.now() / 1000);
  var isPrivate = nav.globalPrivacyControl || nav.doNotTrack === "1";
  var query = win.location.search;
  var landed = (RegExp("[?&]" + (option("param") || NAME) + "=([\\w-]{40,80})(?=&|$)").exec(query) || [])[1];
  var isAllowed; // undefined until somebody says
  var isManual; // the page itself says
  var touches = []; // [token, seconds since 1970], the newest last
  var stored = []; // those of them that may be kept
  var landing = []; // URL and referrer of this session's landing
  var waiting = []; // calls that wait for consent
  var updates; // of the cart, one after the other

  function option(name) {
    return tag.getAttribute("data-" + name);
  }

  function tokens(list) {
    return list.map(function (touch) { return touch[0]; });
  }

  // Keeping: the cookie and local storage say the same; either may be gone.

  function storage(kind, name, text) {
    try {
      if (text === undefined) return win[kind].getItem(name) || "";
      win[kind][text ? "setItem" : "removeItem"](name, text);
    } catch (blocked) {}
    return "";
  }

  function kept() {
    var cookie = ("; " + doc.cookie).split("; " + NAME + "=")[1] || "";
    var seen = {};
    return (cookie.split(";")[0] + "~" + storage("localStorage", NAME)).split("~").map(function (touch) {
      return touch.split(".");
    }).filter(function (touch) {
      var isNew = TOKEN.test(touch[0]) && touch[1] > nowS - days * 86400 && !seen[touch[0]];
      seen[touch[0]] = 1;
      return isNew;
    });
  }

  function keep() {
    var text = stored.map(function (touch) { return touch.join("."); }).join("~");
    var domain = option("domain");
    doc.cookie = NAME + "=" + text + "; path=/; SameSite=Lax; max-age=" + (text ? days * 86400 : 0) +
      (domain ? "; domain=" + domain : "") + (win.location.protocol === "https:" ? "; Secure" : "");
    storage("localStorage", NAME, text);
    storage("sessionStorage", LANDING, text && JSON.stringify(landing));
  }

  // Passing on: to forms and links of the page, Shopify's cart and utmost.

  function ignore() {}

  function each(selector, work) {
    [].forEach.call(doc.querySelectorAll(selector), work);
  }

  function mark() {
    var all = tokens(touches);
    each("form[data-utmost],form.checkout", function (form) {
      var field = form.querySelector('input[name="' + NAME + '"]');
      if (!field && all.length) {
        field = doc.createElement("input");
        field.type = "hidden";
        field.name = NAME;
        form.appendChild(field);
      }
      if (field) field.value = all.join(",");
    });
    each('a[href^="https://buy.stripe.com/"],a[data-utmost="stripe"]', function (link) {
      if (!all.length && link.utmost) link.href = link.href.replace(link.utmost, "");
      if (!all.length || /[?&]client_reference_id=/.test(link.href)) return;
      var parts = link.href.split("#");
      link.utmost = "client_reference_id=" + all[all.length - 1];
      parts[0] += (parts[0].indexOf("?") < 0 ? "?" : "&") + link.utmost;
      link.href = parts.join("#");
    });
  }

  function post(url, type, body) {
    var options = { method: "POST", headers: { "Content-Type": type }, body: body, keepalive: true };
    return win.fetch(url, options)["catch"](ignore);
  }

  function cart(value) {
    var shopify = win.Shopify;
    if (!win.fetch || (!shopify && option("platform") !== "shopify")) return;
    var root = ((shopify || {}).routes || {}).root || "/";
    updates = (updates || win.Promise.resolve()).then(function () {
      return win.fetch(root + "cart.js");
    }).then(function (answer) { return answer.json(); }).then(function (cart) {
      var attributes = {};
      attributes[NAME] = value;
      if ((cart.attributes[NAME] || "") === value) return;
      return post(root + "cart/update.js", "application/json", JSON.stringify({ attributes: attributes }));
    })["catch"](ignore);
  }

  function conversion(what) {
    if (!touches.length) return;
    var url = tag.src.split("/js/utmost.js")[0] + "/api/v1/events";
    var body = JSON.stringify({
      key: what.key || option("key"),
      event: what.event,
      id: what.id,
      click_ids: tokens(touches),
      landing_url: landing[0],
      referrer: landing[1]
    });
    // As text/plain, which no browser asks permission for.
    if (!nav.sendBeacon || !nav.sendBeacon(url, body)) post(url, "text/plain", body);
  }

  // Consenting.

  function decide(allowed) {
    if (allowed === isAllowed) return;
    isAllowed = allowed;
    var known = kept();
    touches = allowed && !isPrivate ? kept() : [];
    if (allowed && landed && tokens(touches).indexOf(landed) < 0) touches.push([landed, nowS]);
    touches = touches.sort(function (a, b) { return a[1] - b[1]; }).slice(-TOUCHES_MAX);
    stored = isPrivate ? [] : touches;
    try { landing = JSON.parse(storage("sessionStorage", LANDING)); } catch (none) {}
    if (landed || TAGGED.test(query)) landing = [win.location.href.split("#")[0], doc.referrer];
    keep();
    whenReady(function () {
      mark();
      if (stored.length || known.length) cart(tokens(stored).join(","));
    });
    flush();
  }

  function flush() {
    while (isAllowed && waiting.length) waiting.shift()();
  }

  function ask(event) {
    var told = ((event || {}).detail || {}).analyticsAllowed; // by Shopify's banner
    var privacy = (win.Shopify || {}).customerPrivacy;
    if (isManual) return;
    if (told === !!told) decide(told);
    else if (privacy && privacy.analyticsProcessingAllowed) decide(privacy.analyticsProcessingAllowed());
    else if (win.wp_has_consent && (win.wp_consent_type || win.wp_fallback_consent_type)) {
      decide(win.wp_has_consent("statistics"));
    }
  }

  function whenReady(work) {
    if (doc.readyState === "loading") doc.addEventListener("DOMContentLoaded", work);
    else work();
  }

  function utmost(command, value) {
    if (command === "consent") {
      isManual = true;
      return decide(!!value);
    }
    waiting.push(function () {
      if (command === "conversion") conversion(value);
      if (command === "clicks") value(tokens(touches));
    });
    flush();
  }

  utmost.loaded = true;
  win.utmost = utmost;
  ["submit", "click", "mousedown"].forEach(function (name) {
    doc.addEventListener(name, mark, true); // for what came into the page later
  });
  ((early && early.q) || []).forEach(function (call) { utmost.apply(null, call); });
  if (option("consent") !== "required") {
    if (!isManual) decide(true);
    return;
  }
  ["visitorConsentCollected", "wp_consent_type_defined", "wp_listen_for_consent_change"].forEach(function (name) {
    doc.addEventListener(name, ask);
  });
  win.addEventListener("load", ask);
  ask();
  whenReady(function () {
    var shopify = win.Shopify || {};
    ask();
    if (!shopify.customerPrivacy && shopify.loadFeatures) {
      shopify.loadFeatures([{ name: "consent-tracking-api", version: "0.1" }], ask);
    }
  });
})(window, document, navigator);
