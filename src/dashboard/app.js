// Choosing in a list is enough; without this script a button does it.
document.documentElement.classList.add("scripted");
for (const field of document.querySelectorAll("form[method=get] select, form[method=get] input[type=date]")) {
  field.addEventListener("change", () => {
    if (field.checkValidity()) field.form.requestSubmit();
  });
}
